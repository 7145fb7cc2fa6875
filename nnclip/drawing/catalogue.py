"""What can be drawn: emoji grouped into things with one name each, people at work, coloured shapes.

The full Unicode list is no good as a list of things: it draws a cat twice and gives it two names,
holds 24 clocks, hundreds of buttons and families that look alike at 64 pixels. So:

- emoji that show one thing are one thing (`🐈=🐱`): the first gives the name, all are drawn;
- left out of every split: clock hours, moon phases but the full and the crescent, lettered and
  arrowed buttons, zodiac and religious signs, families and couples, left/right
  and open/closed twins, faces that differ by an eyebrow, and all emoji that are nothing but a
  colour and a shape (squares, circles, hearts, diamonds, stars): `shapes` draws those;
- people at work are drawn as man and woman in six skin tones; the genderless third is left out,
  it cannot be told from the other two at 64 pixels, nor can the guard's face under his hat.

Every name is checked to be unique within its language (tests/drawing/test_catalogue.py).
"""

import re
from dataclasses import dataclass
from functools import cache, lru_cache

from nnclip.extras import extra

with extra():
    import emoji


COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white",
           "grey")  # fmt: skip
SHAPES = ("circle", "square", "triangle", "star", "heart", "diamond", "hexagon", "cross", "ring",
          "crescent", "arrow")  # fmt: skip

EMOJI = {
    "animal": "🐈=🐱 🐕=🐶 🐁=🐭 🐄=🐮 🐖=🐷 🐇=🐰 🐎=🐴 🐅=🐯 🐒=🐵 🐉=🐲 🐋=🐳 🐪=🐫 🐤=🐥 "
    "🐻 🐼 🐨 🦁 🦊 🐺 🦝 🐹 🐸 🐔 🐓 🐧 🐦 🦆 🦅 🦉 🦇 🐗 🦄 🐝 🐛 🦋 🐌 🐞 🐜 🦗 🕷️ 🦂 🐢 "
    "🐍 🦎 🦖 🦕 🐙 🦑 🦐 🦞 🦀 🐡 🐠 🐟 🐬 🦈 🐊 🐆 🦓 🦍 🦧 🐘 🦛 🦏 🦒 🦘 🐃 🐏 🐑 🦙 🐐 🦌 "
    "🐩 🦃 🦚 🦜 🦢 🦩 🕊️ 🦨 🦡 🦦 🦥 🐿️ 🦔 🦫 🦬 🦣 🦭 🪲 🪰 🪱 🦟 🦠 🐚 🐾 🦤",
    "plant": "🌵 🎄 🌲 🌳 🌴 🌱 🌿 🍀 🎍 🍁 🍂 🍃 🍄 🌾 💐 🌷 🌹 🥀 🌺 🌸 🌼 🌻 🪴 🪶",
    "food": "🍎 🍏 🍐 🍊 🍋 🍌 🍉 🍇 🍓 🫐 🍈 🍒 🍑 🥭 🍍 🥥 🥝 🍅 🍆 🥑 🥦 🥬 🥒 🌶️ 🫑 🌽 🥕 "
    "🫒 🧄 🧅 🥔 🍠 🥐 🥯 🍞 🥖 🥨 🧀 🥚 🍳 🧈 🥞 🧇 🥓 🥩 🍗 🍖 🌭 🍔 🍟 🍕 🥪 🥙 🌮 🌯 🥗 🥘 "
    "🍝 🍜 🍲 🍛 🍣 🍱 🥟 🦪 🍤 🍙 🍚 🍘 🍥 🥠 🍢 🍡 🍧 🍨 🍦 🥧 🧁 🍰 🎂 🍮 🍭 🍬 🍫 🍿 🍩 🍪 "
    "🌰 🥜 🍯 🥛 🍼 ☕ 🫖 🍵 🧃 🥤 🧋 🍶 🍺 🍻 🥂 🍷 🥃 🍸 🍹 🍾 🧉 🧊 🥫 🧂",
    "sport": "⚽ 🏀 🏈 ⚾ 🥎 🎾 🏐 🏉 🥏 🎱 🪀 🏓 🏸 🏒 🥍 🏏 🪃 🥅 ⛳ 🪁 🏹 🎣 🤿 🥊 🥋 🎽 "
    "🛹 🛼 🛷 ⛸️ 🥌 🎿 🏆 🥇 🥈 🥉 🎳 🎯 🎲 ♟️ 🧩 🎮 🕹️ 🎰",
    "music and art": "🎤 🎧 🎼 🎹 🥁 🎷 🎺 🪗 🎸 🪕 🎻 🪘 🎵 🎨 🎬 🎭 🎪 🎟️ 🎠 🎡 🎢",
    "transport": "🚗=🚘 🚕=🚖 🚙 🚌=🚍 🏎️ 🚓=🚔 🚑 🚒 🚐 🛻 🚚 🚜 🛴 🚲 🛵 🏍️ 🛺 🚡 🚂 "
    "🚄=🚅 ✈️ 🚀 🛸 🚁 🛶 ⛵ 🚤 🚢=🛳️=⛴️ ⚓ ⛽ 🚧 🚦=🚥 🚏 🛑 🛰️ 🪂",
    "place": "🏠=🏡 🏢 🏭 🏥 🏰 🏯 🗼 🗽 ⛪ 🕌 🕍 ⛩️ 🛕 ⛲ ⛺ 🌋 ⛰️=🏔️ 🏝️ 🏟️ 🏛️ 🗿 "
    "🛖 🌉 🌈 🏚️",
    "sky": "☀️=🌞 🌕=🌝 🌙=🌛 🪐 ☁️ 🌧️ 🌩️ 🌪️ ❄️ ⛄=☃️ 🔥 💧 🌊 ☄️ 🌍=🌎=🌏 ⚡ 🌠",
    "clothing": "👓 🕶️ 🥽 👔 👕 👖 🧣 🧤 🧥 🧦 👗 👘 🥻 👙 👚 👛 👜 🎒 👞 👟 🥾 👠 👡 👢 👑 "
    "👒 🎩 🎓 🧢 🪖 💄 💍 💎 🩰 🩳 🩴",
    "object": "⌚ 📱 💻 ⌨️ 🖥️ 🖨️ 🖱️ 💾 💿 📷 🎥 📺 📻 🎙️ ⏰=🕰️ ⏱️ ⌛=⏳ 🔋 🔌 💡 🔦 🕯️ "
    "🧯 💵 💰 💳 ⚖️ 🪜 🧰 🔧 🔨 ⛏️ 🪚 🔩 ⚙️ 🧲 💣 🪓 🔪 🛡️ ⚰️ 🏺 🔮 🧿 💈 🔭 🔬 🩹 🩺 💊 💉 "
    "🩸 🧬 🧪 🌡️ 🧹 🧺 🧻 🚽 🚿 🛁 🧼 🪥 🪒 🧽 🪣 🔑=🗝️ 🚪 🪑 🛋️ 🛏️ 🧸 🪞 🪟 🛒 🎁 🎈 🎏 "
    "🎀 🎊 🎉 🎎 🏮 🎐 ✉️ 📦 📯 📜 📰 📅=📆 📈 📌 📎 📏 📐 ✂️ 🔒=🔏 🖊️ 🖌️ 🖍️ ✏️ 📕=📗=📘=📙 "
    "📚 📖 🔖 🧮 🗺️ 🧭 🧱 🪨 🪵 ☂️=☔ ☎️=📞 🔔 📣 🗑️ 🧵 🧶 🪡 🪆 🪅 🧷 🎃 🔗 🪝 🍴 🥄 🥢 "
    "🏴‍☠️ 🚩 ♻️ ⚠️ ☢️ 🪙 📡 💺 🪤 🪦",
    "body": "👂 👃 👀 👅 👄 🦷 🦴 🧠 🫀 🫁 🦶 🦵 💪 👣 💀 👻 👽 🤖 👾 💩 🤡 👹 👺",
    "hand": "👍 👎 👌 ✌️ 🤞 🤘 🤙 ☝️ 👊 👏 🙏 🤝 ✍️ 💅 🖖 🖐️",
    "face": "😀 😂 😉 😍 😘 😋 😜 🤑 🤗 🤔 🤐 😴 🤤 😷 🤒 🤕 🤢 🤮 🤧 🥵 🥶 🤯 🤠 🥳 😎 🤓 🧐 "
    "😮 😳 😢 😭 😱 😡 🤬 😈 🥺 🤫 🙃 😇 😺 😻 😹 😿 🙈 🙉 🙊",
    "person": "👶 👦 👧 👨 👩 👴 👵 🎅 🧜‍♀️ 🧚‍♀️ 🧛‍♂️ 🧟‍♂️ 🧞‍♂️ 🦸‍♂️ 🧙‍♂️ 🥷 👸 🤴 👼 💃 "
    "🕺 🏂 ⛷️ 🏄‍♂️ 🏊‍♂️ 🚴‍♂️ 🏋️‍♂️ 🧘‍♀️ 🏇 🤺 🧗‍♂️ 🤹‍♂️ 🛀 👰‍♀️ 🤵‍♂️ 🤰",
}  # fmt: skip

WORK_SIGNS = (
    "⚕️",
    "🎓",
    "🏫",
    "⚖️",
    "🌾",
    "🍳",
    "🔧",
    "🏭",
    "💼",
    "🔬",
    "💻",
    "🎤",
    "🎨",
    "✈️",
    "🚀",
    "🚒",
)
WORK_PEOPLE = ("👮", "👷", "🕵")
TONES = ("", "🏻", "🏼", "🏽", "🏾", "🏿")
MAN, WOMAN, PERSON = "👨", "👩", "🧑"
MALE, FEMALE = "♂️", "♀️"
JOINER = "\u200d"


@dataclass(frozen=True)
class Thing:
    """Something with one name per language: `glyphs[0]` owns the name, any of `glyphs` shows it."""

    glyphs: tuple[str, ...]
    category: str

    @property
    def key(self) -> str:
        """The emoji that names it; two things never share one."""
        return self.glyphs[0]


@dataclass(frozen=True)
class Worker:
    """A man or a woman at work: `work` counts professions, `tone` indexes TONES."""

    glyph: str
    work: int
    tone: int

    @property
    def key(self) -> str:
        """The emoji that names it."""
        return self.glyph

    @property
    def person(self) -> str:
        """The emoji of a man or a woman of that skin tone, without a profession."""
        male = MALE in self.glyph or self.glyph.startswith(MAN)
        return (MAN if male else WOMAN) + TONES[self.tone]

    @property
    def colleague(self) -> str:
        """The emoji of that profession and skin tone, neither man nor woman."""
        if self.glyph.startswith((MAN, WOMAN)):
            return PERSON + self.glyph[1:]
        return self.glyph.split(JOINER)[0]

    @property
    def sexes(self) -> tuple[str, str]:
        """The emoji of the man and of the woman of that profession and skin tone."""
        if self.glyph.startswith((MAN, WOMAN)):
            return MAN + self.glyph[1:], WOMAN + self.glyph[1:]
        plain = self.glyph.split(JOINER)[0]
        return plain + JOINER + MALE, plain + JOINER + FEMALE


@dataclass(frozen=True)
class Shape:
    """One of SHAPES in one of COLOURS; a shape or a colour that has no name here is ""."""

    colour: str
    shape: str

    @property
    def key(self) -> str:
        """Its name in English, which is also what tells it from others."""
        return f"{self.colour} {self.shape}".strip()


Drawable = Thing | Worker | Shape


@lru_cache(maxsize=1)
def things() -> tuple[Thing, ...]:
    """All things but people at work, in the order of `EMOJI`."""
    found: dict[str, Thing] = {}
    for category, line in EMOJI.items():
        for word in line.split():
            thing = Thing(tuple(word.split("=")), category)
            found.setdefault(thing.key, thing)
    return tuple(found.values())


@lru_cache(maxsize=1)
def workers() -> tuple[Worker, ...]:
    """All people at work: 19 professions x man, woman x 6 skin tones."""
    found = []
    for work, sign in enumerate(WORK_SIGNS + WORK_PEOPLE):
        for tone, mark in enumerate(TONES):
            if sign in WORK_SIGNS:
                glyphs = [person + mark + JOINER + sign for person in (MAN, WOMAN)]
            else:
                # without a tone, the detective needs the "draw as a picture" selector
                base = sign + (mark or ("\ufe0f" if sign == "🕵" else ""))
                glyphs = [base + JOINER + sex for sex in (MALE, FEMALE)]
            found += [Worker(glyph, work, tone) for glyph in glyphs]
    return tuple(found)


@lru_cache(maxsize=1)
def shapes() -> tuple[Shape, ...]:
    """All coloured shapes."""
    return tuple(Shape(colour, shape) for colour in COLOURS for shape in SHAPES)


@cache
def emoji_name(glyph: str, language: str) -> str:
    """The `emoji` package's name of `glyph` in `language`, as words: "woman_cook" -> "woman cook".

    Asides in brackets are left out: "skifahrer(in)" -> "skifahrer".

    Raises:
        KeyError: the package has no such emoji or no such language.
    """
    emoji.config.load_language(language)
    name = emoji.EMOJI_DATA[glyph][language].strip(":").replace("_", " ")
    return re.sub(r" ?\(.*?\)", "", name)
