"""The vocabulary of generated problems: everyday nouns by theme, and made-up words.

Made-up words keep a small model from learning the list instead of learning to copy: what a problem calls its products
does not matter to its mathematics.
"""

from __future__ import annotations

import random

PRODUCTS = (
    "desk chair lamp sofa table shelf bench stool cabinet bed mirror rug vase clock toy bike kite drum phone "
    "tablet jacket shirt coat scarf hat boot sandal glove dress blanket pillow candle basket bowl cup plate kettle "
    "toaster blender fan heater radio speaker camera printer monitor keyboard guitar violin flute piano canoe tent "
    "wagon ladder bucket shovel rake hammer wrench helmet skateboard scooter cake pie cookie muffin bagel pretzel "
    "necklace bracelet ring notebook pen binder backpack wallet belt umbrella doll puzzle robot crate barrel "
    "window door frame gate pump valve engine motor battery bulb tire"
).split()
FOODS = (
    "rice beans oats milk bread tofu eggs corn soup fish pasta yogurt nuts cheese apples lentils spinach carrots "
    "potatoes beef chicken salmon tuna quinoa peas broccoli bananas oranges berries granola honey hummus turkey "
    "pork barley kale cabbage squash"
).split()
ITEMS = (
    "tent radio rope stove camera map torch knife blanket axe compass boots jacket flask drone laptop statue "
    "painting clock vase guitar lens tripod bottle hammock lantern shovel saddle carpet mirror violin telescope "
    "helmet crate engine pump sofa piano microscope projector generator heater printer server monitor cabinet safe "
    "trunk kayak bicycle"
).split()
PEOPLE = (
    "Ann Bob Carl Dana Eve Finn Gus Hana Ivan Judy Ken Lena Mia Noah Olga Paul Quinn Rosa Sam Tina Uma Vera Walt "
    "Xena Yara Zoe Amir Bella Cora Dario Elsa Felix Greta Hugo Iris Jonas Kira Leon Maya Nico Oscar Petra Ravi "
    "Sofia Tariq Ursula Victor Wendy"
).split()
JOBS = (
    "welding painting packing sorting driving cleaning testing cutting wiring loading milling drilling baking "
    "sewing printing planning coding editing design assembly shipping repair billing training sales audit scanning "
    "roofing plumbing mixing"
).split()
PLACES = (
    "Paris Rome Oslo Cairo Lima Tokyo Delhi Milan Porto Sofia Quito Accra Dublin Boston Denver Dallas Austin Miami "
    "Seattle Chicago Lyon Nice Turin Genoa Bergen Malmo Tampa Reno Fresno Omaha Tulsa Perth Sydney Kyoto Osaka "
    "Seoul Hanoi Manila Bogota Santiago"
).split()
INGREDIENTS = (
    "wheat barley soy oat bran fishmeal maize rye flax clover molasses limestone alfalfa canola sorghum millet hay "
    "silage beet lupin copper zinc nickel tin crude naphtha ethanol butane resin pigment solvent latex clay sand "
    "gravel ash lime"
).split()
RESOURCES = (
    "wood labor steel glass paint cloth glue power fabric leather rubber plastic copper aluminum cotton wool paper "
    "ink water flour sugar butter cement clay silver gold wiring lacquer foam assembly machine cutting sewing "
    "polishing packaging oven finishing inspection welding"
).split()
NUTRIENTS = (
    "protein iron fiber calcium vitamin fat zinc magnesium potassium carbohydrate sodium folate iodine starch".split()
)
COMPONENTS = "protein fiber fat starch sugar ash moisture sulfur carbon silica".split()
VEHICLES = (
    "truck van bus car boat ferry train wagon cart plane helicopter barge minibus taxi tram trailer canoe raft "
    "scooter sled camel horse donkey drone forklift tanker"
).split()
ASSETS = (
    "bonds stocks gold silver land oil gas timber cotton copper bills funds shares futures notes loans deposits "
    "metals wheat coffee"
).split()
CHANNELS = (
    "radio television newspaper magazine billboard internet podcast flyer cinema email banner poster brochure "
    "sponsor catalog"
).split()
SITES = (
    "north south east west center harbor airport station market park mill bridge garden tower valley hill lake river"
).split()
ADJECTIVES = (
    "small large red blue green oak pine steel glass basic deluxe regular premium mini standard classic".split()
)

ACTORS = (
    "A workshop|A small factory|A company|A craft shop|Maria's firm|The Baker brothers|A manufacturer|"
    "A family business|An artisan|A local producer|A startup|The owner of a plant|A store|A cooperative|Mr. Lopez|"
    "A supplier|A firm|Our team"
).split("|")

_SYLLABLES = (
    "ba be bi bo bu ca ce co cu da de di do du fa fe fi fo ga ge gi go ha he hi ho ja jo ju ka ke ki ko la le li "
    "lo lu ma me mi mo mu na ne ni no nu pa pe pi po pu ra re ri ro ru sa se si so su ta te ti to tu va ve vi vo "
    "wa we za ze zo ton ter lin mar ster ple der ing per net ber qua shi plo dra gru tri vel nor sal kin fum mek"
).split()


def invented(rng: random.Random) -> str:
    """Returns a made-up lower-case word of two or three syllables."""
    while True:
        word = "".join(rng.choice(_SYLLABLES) for _ in range(rng.choice((2, 2, 3))))
        if not word.endswith("s"):  # its plural must differ
            return word


def pick(
    rng: random.Random, pool: list[str], count: int, *, invented_share: float = 0.35, two_words: float = 0.1
) -> list[str]:
    """Draws `count` distinct names, some made up, some of two words."""
    names: list[str] = []
    made_up = rng.random() < invented_share
    while len(names) < count:
        name = invented(rng) if made_up and rng.random() < 0.8 else rng.choice(pool)
        if pool is PEOPLE or pool is PLACES:
            name = name.capitalize()
        elif rng.random() < two_words:
            name = f"{rng.choice(ADJECTIVES)} {name}"
        if name not in names:
            names.append(name)
    return names
