"""Captions in many languages, clean and messy, drawn from a seed: no data set is needed.

A third of the words of a caption are invented, and most of those occur once, as names do in real
captions; a tokenizer that remembers words does not find them all in its memory.
"""

import random
import unicodedata

ENGLISH = (
    "a black and white dog runs through the tall green grass near a wooden fence",
    "two children in red jackets are playing football on the beach at sunset",
    "The woman's holding an umbrella, and she's waiting for the No. 42 bus.",
    "A plate of rice with grilled fish, lemon & parsley on a kitchen table",
    "Man riding a bicycle down a street in front of 3 parked cars (1998)",
    "an old steam train crossing the bridge, photographed from far above",
)
LANGUAGES = (
    "un perro marrón corre detrás de una pelota en la playa, ¿adónde irá?",
    "une fillette mange une crème glacée à côté de l'église du village",
    "Zwei Männer überqueren die Straße vor dem großen Gebäude in München",
    "uma mulher lê um livro no jardim enquanto o gato dorme ao sol",
    "kırmızı çiçekli küçük bir ev ve İstanbul'un ışıkları",
    "bức ảnh chụp một con mèo đang ngủ trên ghế gỗ màu nâu",
    "dziewczynka w żółtej sukience trzyma białego królika na łące",
    "рыжая кошка спит на подоконнике, а за окном идёт снег",
    "Ένας ΣΚΥΛΟΣ τρέχει στην παραλία καθώς ο ήλιος δύει",
    "كلب أسود يركض على الشاطئ وقت الغروب مع طفل صغير",
    "ילדה קטנה אוכלת גלידה ליד הים הכחול",
    "एक छोटी लड़की लाल साइकिल चला रही है और मुस्कुरा रही है",
    "রাস্তার পাশে একটি সাদা গরু দাঁড়িয়ে আছে",
    "ชายคนหนึ่งกำลังขี่ช้างผ่านแม่น้ำในตอนเช้า",
    "公園のベンチで本を読んでいる女性と、その隣で眠る猫。",
    "一只黑白相间的狗在绿色的草地上奔跑,天空很蓝。",
    "빨간 모자를 쓴 아이가 공원에서 자전거를 타고 있다",
    "ქალი კითხულობს წიგნს ბაღში, ხოლო კატას სძინავს",
    "மரத்தின் கீழ் ஒரு நாய் தூங்குகிறது",
)
EMOJI = ("👍", "👩‍👩‍👧", "🇫🇷", "🐕‍🦺", "☆", "♥️", "🧑🏽‍🚀", "✔", "½", "Ⅷ", "٣", "№", "€5", "…", "–")
MESS = (
    "Ben &amp; Jerry&#39;s",
    "&lt;b&gt;sale&lt;/b&gt;",
    "Tom &amp;amp; Lucy&apos;s house",
    "caf&eacute; P&EACUTE;REZ",
    "“quoted” and it’s ‘fine’",
    "voilÃ  le rÃ©sultat",
    "itâ€™s â€œbrokenâ€\x9d",
    "ＦＵＬＬ　ＷＩＤＴＨ　ｶﾀｶﾅ",
    "ﬁne ﬂuﬃer oﬀ",
    "e\u0301te\u0301 a\u0308 n\u0303",
    "tab\tand\r\nline\u2028break\xa0space",
    "bell\x07 \x1b[31mred\x1b[0m \ufeffbom",
    "\ud83d\udc36 pair \ud800 alone",
)
SYLLABLES = (
    *("ba", "ker", "lin", "do", "mar", "tos", "vi", "en", "ra", "shu", "gol", "pe", "nan", "wick"),
    *("ström", "da", "é", "ño", "ka", "ri"),
)


def _name(rng: random.Random) -> str:
    return "".join(rng.choices(SYLLABLES, k=rng.randint(2, 4))).capitalize()


def _caption(rng: random.Random, stock: tuple[str, ...], ascii_names: bool) -> str:
    words = (rng.choice(stock) + " " + rng.choice(stock)).split()
    words = words[: rng.randint(5, 16)]
    for _ in range(0, len(words), 3):
        name = _name(rng)
        if ascii_names:
            name = unicodedata.normalize("NFD", name).encode("ascii", "ignore").decode()
        words.insert(rng.randint(0, len(words)), name)
    return " ".join(words)


def english(count: int, seed: int) -> list[str]:
    """Plain ASCII captions."""
    rng = random.Random(seed)
    return [_caption(rng, ENGLISH, ascii_names=True) for _ in range(count)]


def languages(count: int, seed: int) -> list[str]:
    """Captions in nineteen languages and eleven scripts, some with emoji."""
    rng = random.Random(seed)
    captions = [_caption(rng, LANGUAGES, ascii_names=False) for _ in range(count)]
    return [f"{one} {rng.choice(EMOJI)}" if rng.random() < 0.3 else one for one in captions]


def messy(count: int, seed: int) -> list[str]:
    """Captions with entities, mojibake, curly quotes, control characters and broken surrogates."""
    rng = random.Random(seed)
    stock = ENGLISH + LANGUAGES
    return [f"{_caption(rng, stock, False)} {rng.choice(MESS)}" for _ in range(count)]


def mixed(count: int, seed: int) -> list[str]:
    """Six parts English, three of other languages, one messy, shuffled."""
    parts = (
        english(count * 6 // 10, seed),
        languages(count * 3 // 10, seed),
        messy(count - count * 6 // 10 - count * 3 // 10, seed),
    )
    texts = [text for part in parts for text in part]
    random.Random(seed).shuffle(texts)
    return texts
