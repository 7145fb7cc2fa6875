"""The fourteen languages of the `emoji` package: what each says of a drawn picture."""

from nnclip.drawing.english import english
from nnclip.drawing.language import Language


def _german(name: str) -> str:
    """With the capital that the `emoji` package took from a noun that stands alone."""
    return name[:1].upper() + name[1:] if " " not in name else name


_ALL = (
    Language(
        code="en",
        colours="red; orange; yellow; green; blue; purple; pink; brown; black; white; grey",
        shapes="n:circle; n:square; n:triangle; n:star; n:heart; n:diamond; n:hexagon; n:cross; "
        "n:ring; n:crescent; n:arrow; n:shape",
        coloured="{colour} {shape}",
        ground="on a {colour} background",
        places="on a striped background; on a dotted background; on a checkered background; "
        "on the beach; in a meadow; in the snow; under a starry sky; under water; in the desert; "
        "in the forest; in the city; at sunset; among clouds; on a wooden table; "
        "in front of a brick wall",
        alone=("{x}", "a picture of {x}", "a drawing of {x}", "an emoji of {x}", "this is {x}"),
        placed=("{x} {place}", "a picture of {x} {place}", "a drawing of {x} {place}"),
        together=("{a} and {b}", "{a} with {b}", "a picture of {a} and {b}"),
        beside="{a} on the left and {b} on the right",
        stacked="{a} at the top and {b} at the bottom",
        noun=english,
        fixes=((r"\ba (?=orange\b)", "an "),),
    ),
    Language(
        code="es",
        colours="rojo/roja/rojo; naranja; amarillo/amarilla/amarillo; verde; azul; "
        "morado/morada/morado; rosa; marrón; negro/negra/negro; blanco/blanca/blanco; gris",
        shapes="m:círculo; m:cuadrado; m:triángulo; f:estrella; m:corazón; m:rombo; m:hexágono; "
        "f:cruz; m:anillo; f:medialuna; f:flecha; f:figura",
        coloured="{shape} {colour}",
        ground="sobre fondo {colour}",
        places="sobre fondo de rayas; sobre fondo de lunares; sobre fondo de cuadros; "
        "en la playa; en un prado; en la nieve; bajo un cielo estrellado; bajo el agua; "
        "en el desierto; en el bosque; en la ciudad; al atardecer; entre nubes; "
        "sobre una mesa de madera; delante de un muro de ladrillo",
        alone=("{x}", "imagen de {x}", "dibujo de {x}"),
        placed=("{x} {place}", "imagen de {x} {place}", "dibujo de {x} {place}"),
        together=("{a} y {b}", "{a} con {b}", "imagen de {a} y {b}"),
        beside="{a} a la izquierda y {b} a la derecha",
        stacked="{a} arriba y {b} abajo",
        fixes=((r" y (?=h?i)(?!hie)", " e "),),
    ),
    Language(
        code="ja",
        colours="赤い; オレンジ色の; 黄色い; 緑色の; 青い; 紫色の; ピンク色の; 茶色い; "
        "黒い; 白い; 灰色の",
        shapes="n:丸; n:四角; n:三角; n:星; n:ハート; n:ひし形; n:六角形; n:十字; "
        "n:輪; n:三日月形; n:矢印; n:図形",
        coloured="{colour}{shape}",
        ground="{colour}背景の",
        places="しま模様の背景の; 水玉模様の背景の; 市松模様の背景の; 砂浜の; 草原の; 雪の中の; "
        "星空の下の; 水中の; 砂漠の; 森の中の; 街の; 夕焼けの; 雲の中の; 木のテーブルの上の; "
        "レンガの壁の前の",
        alone=("{x}", "{x}の絵", "これは{x}です"),
        placed=("{place}{x}", "{place}{x}の絵"),
        together=("{a}と{b}", "{a}と{b}の絵"),
        beside="左に{a}、右に{b}",
        stacked="上に{a}、下に{b}",
    ),
    Language(
        code="ko",
        colours="빨간색; 주황색; 노란색; 초록색; 파란색; 보라색; 분홍색; 갈색; 검은색; 흰색; 회색",
        shapes="n:원; n:정사각형; n:삼각형; n:별; n:하트; n:마름모; n:육각형; n:십자; n:고리; "
        "n:초승달; n:화살표; n:도형",
        coloured="{colour} {shape}",
        ground="{colour} 배경의",
        places="줄무늬 배경의; 물방울무늬 배경의; 체크무늬 배경의; 해변의; 초원의; 눈 속의; "
        "별이 빛나는 하늘 아래의; 물속의; 사막의; 숲속의; 도시의; 노을 속의; 구름 사이의; "
        "나무 탁자 위의; 벽돌 벽 앞의",
        alone=("{x}", "{x} 그림", "{x} 사진"),
        placed=("{place} {x}", "{place} {x} 그림"),
        together=("{a} 및 {b}", "{a}하고 {b}", "{a}, {b}"),
        beside="왼쪽에 {a}, 오른쪽에 {b}",
        stacked="위에 {a}, 아래에 {b}",
    ),
    Language(
        code="pt",
        colours="vermelho/vermelha/vermelho; laranja; amarelo/amarela/amarelo; verde; azul; "
        "roxo/roxa/roxo; rosa; marrom; preto/preta/preto; branco/branca/branco; cinza",
        shapes="m:círculo; m:quadrado; m:triângulo; f:estrela; m:coração; m:losango; m:hexágono; "
        "f:cruz; m:anel; f:lua crescente; f:seta; f:figura",
        coloured="{shape} {colour}",
        ground="sobre fundo {colour}",
        places="sobre fundo listrado; sobre fundo de bolinhas; sobre fundo xadrez; na praia; "
        "num prado; na neve; sob um céu estrelado; debaixo d'água; no deserto; na floresta; "
        "na cidade; ao pôr do sol; entre nuvens; sobre uma mesa de madeira; "
        "diante de uma parede de tijolos",
        alone=("{x}", "imagem de {x}", "desenho de {x}"),
        placed=("{x} {place}", "imagem de {x} {place}", "desenho de {x} {place}"),
        together=("{a} e {b}", "{a} com {b}", "imagem de {a} e {b}"),
        beside="{a} à esquerda e {b} à direita",
        stacked="{a} em cima e {b} embaixo",
    ),
    Language(
        code="it",
        colours="rosso/rossa/rosso; arancione; giallo/gialla/giallo; verde; blu; viola; rosa; "
        "marrone; nero/nera/nero; bianco/bianca/bianco; grigio/grigia/grigio",
        shapes="m:cerchio; m:quadrato; m:triangolo; f:stella; m:cuore; m:rombo; m:esagono; "
        "f:croce; m:anello; f:mezzaluna; f:freccia; f:figura",
        coloured="{shape} {colour}",
        ground="su sfondo {colour}",
        places="su sfondo a righe; su sfondo a pois; su sfondo a quadretti; sulla spiaggia; "
        "in un prato; nella neve; sotto un cielo stellato; sott'acqua; nel deserto; nel bosco; "
        "in città; al tramonto; tra le nuvole; su un tavolo di legno; "
        "davanti a un muro di mattoni",
        alone=("{x}", "immagine di {x}", "disegno di {x}"),
        placed=("{x} {place}", "immagine di {x} {place}", "disegno di {x} {place}"),
        together=("{a} e {b}", "{a} con {b}", "immagine di {a} e {b}"),
        beside="{a} a sinistra e {b} a destra",
        stacked="{a} in alto e {b} in basso",
        fixes=((r" e (?=e)", " ed "),),
    ),
    Language(
        code="fr",
        colours="rouge; orange; jaune; vert/verte/vert; bleu/bleue/bleu; "
        "violet/violette/violet; rose; marron; noir/noire/noir; blanc/blanche/blanc; "
        "gris/grise/gris",
        shapes="m:cercle; m:carré; m:triangle; f:étoile; m:cœur; m:losange; m:hexagone; f:croix; "
        "m:anneau; m:croissant; f:flèche; f:forme",
        coloured="{shape} {colour}",
        ground="sur fond {colour}",
        places="sur fond rayé; sur fond à pois; sur fond à carreaux; sur la plage; dans un pré; "
        "dans la neige; sous un ciel étoilé; sous l'eau; dans le désert; dans la forêt; en ville; "
        "au coucher du soleil; parmi les nuages; sur une table en bois; "
        "devant un mur de briques",
        alone=("{x}", "une image : {x}", "un dessin : {x}", "emoji {x}"),
        placed=("{x} {place}", "une image : {x} {place}", "un dessin : {x} {place}"),
        together=("{a} et {b}", "{a} avec {b}", "une image : {a} et {b}"),
        beside="{a} à gauche et {b} à droite",
        stacked="{a} en haut et {b} en bas",
    ),
    Language(
        code="de",
        colours="roter/rote/rotes/rotem; oranger/orange/oranges/orangem; "
        "gelber/gelbe/gelbes/gelbem; grüner/grüne/grünes/grünem; blauer/blaue/blaues/blauem; "
        "lila; rosa; brauner/braune/braunes/braunem; schwarzer/schwarze/schwarzes/schwarzem; "
        "weißer/weiße/weißes/weißem; grauer/graue/graues/grauem",
        shapes="m:Kreis; n:Quadrat; n:Dreieck; m:Stern; n:Herz; f:Raute; n:Sechseck; n:Kreuz; "
        "m:Ring; m:Halbmond; m:Pfeil; f:Figur",
        coloured="{colour} {shape}",
        ground="auf {colour} Hintergrund",
        places="auf gestreiftem Hintergrund; auf gepunktetem Hintergrund; "
        "auf kariertem Hintergrund; am Strand; auf einer Wiese; im Schnee; "
        "unter dem Sternenhimmel; unter Wasser; in der Wüste; im Wald; in der Stadt; "
        "bei Sonnenuntergang; zwischen Wolken; auf einem Holztisch; vor einer Ziegelmauer",
        alone=("{x}", "ein Bild: {x}", "eine Zeichnung: {x}"),
        placed=("{x} {place}", "ein Bild: {x} {place}", "eine Zeichnung: {x} {place}"),
        together=("{a} und {b}", "{a} neben {b}", "ein Bild: {a} und {b}"),
        beside="links {a}, rechts {b}",
        stacked="oben {a}, unten {b}",
        noun=_german,
    ),
    Language(
        code="fa",
        colours="قرمز; نارنجی; زرد; سبز; آبی; بنفش; صورتی; قهوه‌ای; سیاه; سفید; خاکستری",
        shapes="n:دایره; n:مربع; n:مثلث; n:ستاره; n:قلب; n:لوزی; n:شش‌ضلعی; n:صلیب; n:حلقه; "
        "n:هلال; n:پیکان; n:شکل",
        coloured="{shape} {colour}",
        ground="روی پس‌زمینه {colour}",
        places="روی پس‌زمینه راه‌راه; روی پس‌زمینه خال‌خالی; روی پس‌زمینه شطرنجی; در ساحل; "
        "در چمنزار; در برف; زیر آسمان پرستاره; زیر آب; در بیابان; در جنگل; در شهر; هنگام غروب; "
        "میان ابرها; روی میز چوبی; جلوی دیوار آجری",
        alone=("{x}", "تصویر {x}", "نقاشی {x}"),
        placed=("{x} {place}", "تصویر {x} {place}", "نقاشی {x} {place}"),
        together=("{a} و {b}", "{a} با {b}", "تصویر {a} و {b}"),
        beside="{a} در سمت چپ و {b} در سمت راست",
        stacked="{a} در بالا و {b} در پایین",
    ),
    Language(
        code="id",
        colours="merah; oranye; kuning; hijau; biru; ungu; merah muda; cokelat; hitam; putih; "
        "abu-abu",
        shapes="n:lingkaran; n:persegi; n:segitiga; n:bintang; n:hati; n:wajik; n:segi enam; "
        "n:salib; n:cincin; n:bulan sabit; n:panah; n:bentuk",
        coloured="{shape} {colour}",
        ground="dengan latar {colour}",
        places="dengan latar bergaris; dengan latar polkadot; dengan latar kotak-kotak; di pantai; "
        "di padang rumput; di salju; di bawah langit berbintang; di bawah air; di gurun; di hutan; "
        "di kota; saat matahari terbenam; di antara awan; di atas meja kayu; "
        "di depan dinding bata",
        alone=("{x}", "gambar {x}", "lukisan {x}", "ini {x}"),
        placed=("{x} {place}", "gambar {x} {place}", "lukisan {x} {place}"),
        together=("{a} dan {b}", "{a} dengan {b}", "gambar {a} dan {b}"),
        beside="{a} di kiri dan {b} di kanan",
        stacked="{a} di atas dan {b} di bawah",
    ),
    Language(
        code="zh",
        colours="红色; 橙色; 黄色; 绿色; 蓝色; 紫色; 粉色; 棕色; 黑色; 白色; 灰色",
        shapes="n:圆形; n:正方形; n:三角形; n:五角星; n:心形; n:菱形; n:六边形; n:十字; n:圆环; "
        "n:月牙; n:箭头; n:图形",
        coloured="{colour}{shape}",
        ground="{colour}背景上的",
        places="条纹背景上的; 圆点背景上的; 格子背景上的; 沙滩上的; 草地上的; 雪地里的; 星空下的; "
        "水下的; 沙漠里的; 森林里的; 城市里的; 夕阳下的; 云中的; 木桌上的; 砖墙前的",
        alone=("{x}", "{x}的图片", "{x}的画", "这是{x}"),
        placed=("{place}{x}", "{place}{x}的图片"),
        together=("{a}和{b}", "{a}与{b}", "{a}和{b}的图片"),
        beside="左边是{a}，右边是{b}",
        stacked="上面是{a}，下面是{b}",
    ),
    Language(
        code="ru",
        colours="красный/красная/красное/красном; оранжевый/оранжевая/оранжевое/оранжевом; "
        "жёлтый/жёлтая/жёлтое/жёлтом; зелёный/зелёная/зелёное/зелёном; синий/синяя/синее/синем; "
        "фиолетовый/фиолетовая/фиолетовое/фиолетовом; розовый/розовая/розовое/розовом; "
        "коричневый/коричневая/коричневое/коричневом; чёрный/чёрная/чёрное/чёрном; "
        "белый/белая/белое/белом; серый/серая/серое/сером",
        shapes="m:круг; m:квадрат; m:треугольник; f:звезда; n:сердце; m:ромб; m:шестиугольник; "
        "m:крест; n:кольцо; m:полумесяц; f:стрелка; f:фигура",
        coloured="{colour} {shape}",
        ground="на {colour} фоне",
        places="на полосатом фоне; на фоне в горошек; на клетчатом фоне; на пляже; на лугу; "
        "в снегу; под звёздным небом; под водой; в пустыне; в лесу; в городе; на закате; "
        "среди облаков; на деревянном столе; перед кирпичной стеной",
        alone=("{x}", "рисунок: {x}", "на картинке {x}", "это {x}"),
        placed=("{x} {place}", "рисунок: {x} {place}", "на картинке {x} {place}"),
        together=("{a} и {b}", "рисунок: {a} и {b}", "на картинке {a} и {b}"),
        beside="слева {a}, справа {b}",
        stacked="сверху {a}, снизу {b}",
    ),
    Language(
        code="tr",
        colours="kırmızı; turuncu; sarı; yeşil; mavi; mor; pembe; kahverengi; siyah; beyaz; gri",
        shapes="n:daire; n:kare; n:üçgen; n:yıldız; n:kalp; n:eşkenar dörtgen; n:altıgen; n:haç; "
        "n:halka; n:hilal; n:ok; n:şekil",
        coloured="{colour} {shape}",
        ground="{colour} arka planda",
        places="çizgili arka planda; puantiyeli arka planda; kareli arka planda; kumsalda; "
        "çayırda; karda; yıldızlı gökyüzünün altında; su altında; çölde; ormanda; şehirde; "
        "gün batımında; bulutların arasında; ahşap masanın üzerinde; tuğla duvarın önünde",
        alone=("{x}", "{x} resmi", "{x} çizimi", "bu bir {x}"),
        placed=("{place} {x}", "{x}, {place}", "{place} {x} resmi"),
        together=("{a} ve {b}", "{a} ile {b}", "{a} ve {b} resmi"),
        beside="solda {a}, sağda {b}",
        stacked="üstte {a}, altta {b}",
    ),
    Language(
        code="ar",
        colours="أحمر/حمراء/أحمر/حمراء; برتقالي/برتقالية/برتقالي/برتقالية; "
        "أصفر/صفراء/أصفر/صفراء; أخضر/خضراء/أخضر/خضراء; أزرق/زرقاء/أزرق/زرقاء; "
        "بنفسجي/بنفسجية/بنفسجي/بنفسجية; وردي/وردية/وردي/وردية; بني/بنية/بني/بنية; "
        "أسود/سوداء/أسود/سوداء; أبيض/بيضاء/أبيض/بيضاء; رمادي/رمادية/رمادي/رمادية",
        shapes="f:دائرة; m:مربع; m:مثلث; f:نجمة; m:قلب; m:معين; m:شكل سداسي; m:صليب; f:حلقة; "
        "m:هلال; m:سهم; m:شكل",
        coloured="{shape} {colour}",
        ground="على خلفية {colour}",
        places="على خلفية مخططة; على خلفية منقطة; على خلفية مربعات; على الشاطئ; في المرج; "
        "في الثلج; تحت سماء مليئة بالنجوم; تحت الماء; في الصحراء; في الغابة; في المدينة; "
        "عند الغروب; بين الغيوم; على طاولة خشبية; أمام جدار من الطوب",
        alone=("{x}", "صورة {x}", "رسم {x}", "هذه صورة {x}"),
        placed=("{x} {place}", "صورة {x} {place}", "رسم {x} {place}"),
        together=("{a} و{b}", "{a} مع {b}", "صورة {a} و{b}"),
        beside="{a} على اليسار و{b} على اليمين",
        stacked="{a} في الأعلى و{b} في الأسفل",
    ),
)
LANGUAGES: dict[str, Language] = {language.code: language for language in _ALL}
