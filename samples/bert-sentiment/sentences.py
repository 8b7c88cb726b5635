"""Sentences with a mood, in Indonesian and English, put together from this file's own words.

A sentence has one or two clauses about a thing. A clause praises, complains or states a fact; a negation
turns its mood over, "hardly" and "kurang" halve it. With two clauses, the one after "but" weighs double.
The mood of the whole decides: positive, negative, or neutral when nothing is left over. One sentence in
six has a typing error, as people make them.
"""

# language, thing, facts that fit it
THINGS = [
    ("id", "makanannya", ["disajikan di piring besar", "datang bersama nasi dan sambal"]),
    ("id", "kamarnya", ["ada di lantai tiga", "menghadap ke jalan raya"]),
    ("id", "pelayanannya", ["dimulai jam delapan pagi", "diatur lewat aplikasi"]),
    ("id", "filmnya", ["berdurasi dua jam", "tayang mulai hari kamis"]),
    ("id", "ponsel ini", ["punya layar enam inci", "dijual dalam tiga warna"]),
    ("id", "tempatnya", ["ada di dekat stasiun", "buka sampai malam"]),
    ("id", "kopinya", ["dipanggang di toko sendiri", "dijual per cangkir"]),
    ("id", "aplikasinya", ["meminta nomor telepon", "diperbarui bulan lalu"]),
    ("id", "bukunya", ["terdiri dari dua belas bab", "dicetak tahun lalu"]),
    ("id", "pengirimannya", ["memakai kurir dari kota", "dihitung menurut berat"]),
    ("id", "kursinya", ["terbuat dari kayu jati", "dipakai di ruang tamu"]),
    ("id", "pemandunya", ["datang dari kampung sebelah", "membawa peta dan senter"]),
    ("en", "the food", ["comes with rice and soup", "is cooked in the open kitchen"]),
    ("en", "the room", ["is on the second floor", "looks out on the car park"]),
    ("en", "the service", ["starts at eight in the morning", "is booked by phone"]),
    ("en", "the film", ["runs for two hours", "opens on thursday"]),
    ("en", "this phone", ["has a six inch screen", "is sold in three colours"]),
    ("en", "the place", ["is next to the station", "stays open until ten"]),
    ("en", "the coffee", ["is roasted in the shop", "is sold by the cup"]),
    ("en", "the app", ["asks for a phone number", "was updated last month"]),
    ("en", "the book", ["has twelve chapters", "was printed last year"]),
    ("en", "the delivery", ["is charged by weight", "comes from the next town"]),
    ("en", "the chair", ["is made of teak", "weighs six kilos"]),
    ("en", "the guide", ["comes from the village", "carries a map and a torch"]),
]
PRAISE = {
    "id": ["enak", "bagus", "memuaskan", "luar biasa", "menyenangkan", "ramah", "rapi", "istimewa",
           "sangat membantu", "nyaman", "cepat dan tepat", "mengesankan", "sempurna", "indah"],
    "en": ["good", "great", "lovely", "a pleasure", "excellent", "friendly", "well made", "a delight",
           "very helpful", "comfortable", "quick and exact", "impressive", "perfect", "beautiful"],
}
BLAME = {
    "id": ["buruk", "mengecewakan", "membosankan", "kotor", "lambat sekali", "kasar", "berantakan",
           "terlalu mahal", "menyebalkan", "rusak", "hambar", "melelahkan", "payah", "tidak jelas"],
    "en": ["bad", "a disappointment", "dull", "dirty", "painfully slow", "rude", "a mess",
           "far too expensive", "annoying", "broken", "bland", "tiring", "poor", "a waste of money"],
}
DEGREE = {"id": ["", "", "sungguh ", "benar benar "], "en": ["", "", "really ", "truly "]}
NOT = {"id": ["tidak ", "sama sekali tidak "], "en": ["not ", "not at all "]}
HARDLY = {"id": ["kurang ", "agak kurang "], "en": ["hardly ", "not quite "]}
AND = {"id": ["dan", "lagi pula", "apalagi"], "en": ["and", "besides", "what is more"]}
BUT = {"id": ["tapi", "namun", "sayangnya"], "en": ["but", "however", "and yet"]}
OPENING = {"id": ["", "", "", "menurut saya ", "kata teman saya ", "kemarin "],
           "en": ["", "", "", "in my opinion ", "my friend says ", "yesterday "]}
LABELS = ["positive", "neutral", "negative"]


def pick(rng, items):
    return items[int(rng.integers(len(items)))]


def clause(rng, language):
    """Text and mood (-2..2)."""
    choices = [t for t in THINGS if t[0] == language]
    _, thing, facts = pick(rng, choices)
    kind = rng.random()
    be = " " if language == "id" else " is "
    if kind < 0.3:
        return f"{thing} {pick(rng, facts)}", 0
    mood, words = (2, PRAISE) if kind < 0.65 else (-2, BLAME)
    word = pick(rng, words[language])
    turn = rng.random()
    if turn < 0.18:
        return f"{thing}{be}{pick(rng, NOT[language])}{word}", -mood
    if turn < 0.3:
        return f"{thing}{be}{pick(rng, HARDLY[language])}{word}", -mood // 2
    return f"{thing}{be}{pick(rng, DEGREE[language])}{word}", mood


def typing_error(rng, text):
    """Two neighbouring letters swapped, one lost, or one twice."""
    at = int(rng.integers(1, len(text) - 1))
    how = int(rng.integers(3))
    if how == 0:
        return text[:at - 1] + text[at] + text[at - 1] + text[at + 1:]
    return text[:at] + text[at + 1:] if how == 1 else text[:at] + text[at:at + 1] + text[at:]


def sentence(rng):
    """Text and label (index into LABELS)."""
    language = "id" if rng.random() < 0.5 else "en"
    text, mood = clause(rng, language)
    text = pick(rng, OPENING[language]) + text
    if rng.random() < 0.6:
        other, second = clause(rng, language)
        if mood * second < 0:
            text, mood = f"{text} , {pick(rng, BUT[language])} {other}", mood + 2 * second
        else:
            text, mood = f"{text} , {pick(rng, AND[language])} {other}", mood + second
    if rng.random() < 1 / 6:
        text = typing_error(rng, text)
    return text, 0 if mood > 0 else 2 if mood < 0 else 1


def draw(rng, n, known):
    """n sentences that are not among the known ones (a set, which grows)."""
    rows = []
    while len(rows) < n:
        text, label = sentence(rng)
        if text not in known:
            known.add(text)
            rows.append((text, label))
    return rows
