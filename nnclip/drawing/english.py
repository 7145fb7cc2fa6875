"""English noun phrases from the names that Unicode gives its emoji."""

import re

# Everyday words where the Unicode name describes the drawing or nobody would say it.
EVERYDAY = {
    "automobile": "car", "lady beetle": "ladybug", "hot beverage": "cup of coffee",
    "locked": "padlock", "globe showing Europe-Africa": "globe", "hourglass done": "hourglass",
    "high voltage": "lightning bolt", "water wave": "wave", "cooking": "fried egg",
    "game die": "dice", "pool 8 ball": "billiard ball", "tennis": "tennis ball",
    "ping pong": "table tennis racket", "badminton": "badminton racket", "wood": "wooden log",
    "ice hockey": "ice hockey stick",
    "lacrosse": "lacrosse stick", "cricket game": "cricket bat", "bowling": "bowling ball and pins",
    "vertical traffic light": "traffic light", "construction": "construction barrier",
    "snowman without snow": "snowman", "droplet": "drop of water", "flag in hole": "golf flag",
    "warning": "warning sign", "radioactive": "radioactivity sign", "thread": "spool of thread",
    "yarn": "ball of yarn", "link": "chain link", "man superhero": "superhero",
    "man mage": "wizard", "woman fairy": "fairy",
    "man vampire": "vampire", "man zombie": "zombie", "man genie": "genie",
    "performing arts": "theatre masks", "optical disk": "CD", "envelope": "letter",
    "chart increasing": "rising chart", "poultry leg": "chicken leg",
    "eggplant": "aubergine", "baguette bread": "baguette", "steaming bowl": "bowl of noodles",
    "fire engine": "fire truck", "beverage box": "juice box",
    "thumbs up": "thumbs-up", "thumbs down": "thumbs-down", "horse racing": "jockey on a horse",
    "person taking bath": "person in a bathtub", "leaf fluttering in wind": "leaf in the wind",
    "goal net": "goal", "sauropod": "dinosaur", "spiral shell": "sea shell", "dna": "DNA",
    "index pointing up": "finger pointing up", "oncoming fist": "fist",
    "hot pepper": "chili pepper",
}  # fmt: skip
STUFF = {
    "bacon", "bread", "broccoli", "butter", "canned food", "cooked rice", "curry rice", "custard",
    "DNA", "fire", "garlic", "ice", "leafy green", "oden", "popcorn", "sake", "salt",
    "Santa Claus", "shaved ice", "soap", "spaghetti", "sushi", "candy", "nail polish",
}  # fmt: skip
UNIQUE = {"Statue of Liberty", "Tokyo tower"}


def english(name: str) -> str:
    """With its article: "a cat", "an owl", "the Statue of Liberty"; none for plurals and stuff."""
    name = re.sub(r" (\S+) skin tone$", r" with \1 skin", EVERYDAY.get(name, name))
    head = re.split(r" (?:with|of|on|in|lifting) ", name)[0]
    if name in UNIQUE:
        return f"the {name}"
    if name in STUFF or re.search(r"(?<![suo])s$", head):
        return name
    vowel = re.match(r"(?!uni|eu|ewe|one)[aeiou]|x-ray", name, re.IGNORECASE)
    return f"an {name}" if vowel else f"a {name}"
