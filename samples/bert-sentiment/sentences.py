"""Sentences with a mood, in Indonesian and English, put together from this file's own words.

A sentence has one or two clauses about a thing. A clause says what the thing is like, what somebody feels
about it or would do again, or states a fact; a negation turns its mood over, "hardly" and "kurang" halve it.
With two clauses, the one after "but" weighs double. The mood of the whole decides: positive, negative, or
neutral when nothing is left over. One sentence in six has a typing error, as people make them.
"""

# thing, the same without "the" or "-nya", facts that fit it
THINGS = {
    "id": [
        ("makanannya", "makanan", ["disajikan di piring besar", "datang bersama nasi dan sambal"]),
        ("kamarnya", "kamar", ["ada di lantai tiga", "menghadap ke jalan raya"]),
        ("pelayanannya", "pelayanan", ["dimulai jam delapan pagi", "diatur lewat aplikasi"]),
        ("filmnya", "film", ["berdurasi dua jam", "tayang mulai hari kamis"]),
        ("ponselnya", "ponsel", ["punya layar enam inci", "dijual dalam tiga warna"]),
        ("tempatnya", "tempat", ["ada di dekat stasiun", "buka sampai malam"]),
        ("kopinya", "kopi", ["dipanggang di toko sendiri", "dijual per cangkir"]),
        ("aplikasinya", "aplikasi", ["meminta nomor telepon", "diperbarui bulan lalu"]),
        ("bukunya", "buku", ["terdiri dari dua belas bab", "dicetak tahun lalu"]),
        ("pengirimannya", "pengiriman", ["memakai kurir dari kota", "dihitung menurut berat"]),
        ("kursinya", "kursi", ["terbuat dari kayu jati", "dipakai di ruang tamu"]),
        ("pemandunya", "pemandu", ["datang dari kampung sebelah", "membawa peta dan senter"]),
        ("hotelnya", "hotel", ["punya empat lantai", "dibangun di tepi sungai"]),
        ("ceritanya", "cerita", ["terjadi di sebuah desa", "dimulai pada musim hujan"]),
        ("harganya", "harga", ["sudah termasuk pajak", "tertulis di daftar menu"]),
        ("barangnya", "barang", ["dikirim dalam kotak", "dibuat di kota ini"]),
    ],
    "en": [
        ("the food", "food", ["comes with rice and soup", "is cooked in the open kitchen"]),
        ("the room", "room", ["is on the second floor", "looks out on the car park"]),
        ("the service", "service", ["starts at eight in the morning", "is booked by phone"]),
        ("the film", "film", ["runs for two hours", "opens on thursday"]),
        ("the movie", "movie", ["was made in three weeks", "is shown on two screens"]),
        ("the phone", "phone", ["has a six inch screen", "is sold in three colours"]),
        ("the place", "place", ["is next to the station", "stays open until ten"]),
        ("the coffee", "coffee", ["is roasted in the shop", "is sold by the cup"]),
        ("the app", "app", ["asks for a phone number", "was updated last month"]),
        ("the book", "book", ["has twelve chapters", "was printed last year"]),
        ("the delivery", "delivery", ["is charged by weight", "comes from the next town"]),
        ("the chair", "chair", ["is made of teak", "weighs six kilos"]),
        ("the guide", "guide", ["comes from the village", "carries a map and a torch"]),
        ("the hotel", "hotel", ["has four floors", "was built by the river"]),
        ("the story", "story", ["takes place in a small town", "begins on a rainy day"]),
        ("the staff", "staff", ["wears a blue uniform", "changes every six months"]),
    ],
}
PRAISE = {
    "id": ["enak", "bagus", "memuaskan", "luar biasa", "menyenangkan", "ramah", "rapi", "istimewa",
           "membantu", "nyaman", "cepat dan tepat", "mengesankan", "sempurna", "indah", "baik",
           "keren", "mantap", "hebat", "lezat", "menarik", "seru", "murah dan bagus", "terbaik"],
    "en": ["good", "great", "lovely", "a pleasure", "excellent", "friendly", "well made", "a delight",
           "helpful", "comfortable", "quick and exact", "impressive", "perfect", "beautiful",
           "wonderful", "amazing", "fantastic", "nice", "brilliant", "awesome", "delicious",
           "the best", "superb", "fun"],
}
BLAME = {
    "id": ["buruk", "mengecewakan", "membosankan", "kotor", "lambat", "kasar", "berantakan",
           "terlalu mahal", "menyebalkan", "rusak", "hambar", "melelahkan", "payah", "tidak jelas",
           "jelek", "parah", "mengerikan", "bau", "aneh", "terburuk"],
    "en": ["bad", "a disappointment", "dull", "dirty", "painfully slow", "rude", "a mess",
           "far too expensive", "annoying", "broken", "bland", "tiring", "poor", "a waste of money",
           "terrible", "awful", "horrible", "boring", "disappointing", "disgusting", "useless",
           "ugly", "stupid", "the worst"],
}
DEGREE = {"id": ["", "", "", "sungguh ", "benar benar ", "sangat "],
          "en": ["", "", "", "really ", "truly ", "very ", "so ", "absolutely "]}
AFTER = {"id": ["", "", " sekali", " banget"], "en": [""]}
BE = {"id": [" "], "en": [" is ", " is ", " was "]}
NOT = {"id": ["tidak ", "sama sekali tidak "], "en": ["not ", "not at all "]}
HARDLY = {"id": ["kurang ", "agak kurang "], "en": ["hardly ", "not quite "]}
AND = {"id": ["dan", "lagi pula", "apalagi"], "en": ["and", "besides", "what is more"]}
BUT = {"id": ["tapi", "namun", "sayangnya"], "en": ["but", "however", "and yet"]}
OPENING = {"id": ["", "", "", "menurut saya ", "kata teman saya ", "kemarin "],
           "en": ["", "", "", "in my opinion ", "my friend says ", "yesterday "]}
WHO = {"id": ["saya", "saya", "aku", "kami"], "en": ["i", "i", "i", "we"]}
LIKE = {"id": ["suka", "suka sekali", "sangat suka", "cinta", "senang dengan", "puas dengan",
               "kagum dengan"],
        "en": ["love", "loved", "like", "liked", "enjoy", "enjoyed", "really love", "really like",
               "adore"]}
HATE = {"id": ["benci", "kecewa dengan", "sangat kecewa dengan", "menyesal dengan", "kesal dengan",
               "muak dengan", "bosan dengan"],
        "en": ["hate", "hated", "dislike", "regret", "despise", "really hate", "can't stand"]}
LIKE_NOT = {"id": ["tidak suka", "kurang suka", "tidak puas dengan", "tidak senang dengan"],
            "en": ["don't like", "do not like", "didn't like", "did not enjoy", "don't love",
                   "didn't enjoy"]}
PRONOUN = {"id": ["ini", "itu"], "en": ["it", "this", "that"]}
AGAIN = {"id": ["pasti kembali lagi", "sangat direkomendasikan", "wajib dicoba", "terima kasih banyak",
                "tidak menyesal", "saya merasa senang", "saya puas"],
         "en": ["i would recommend it", "highly recommended", "worth every penny", "thank you so much",
                "i will come back", "i am happy with it", "we are very happy"]}
NEVER = {"id": ["tidak akan kembali lagi", "jangan beli", "tidak direkomendasikan", "buang buang uang",
                "saya menyesal", "saya kecewa", "saya marah"],
         "en": ["i would not recommend it", "never again", "stay away", "do not buy this",
                "i want my money back", "i am not happy with it", "we are very disappointed"]}
LABELS = ["positive", "neutral", "negative"]


def pick(rng, items):
    return items[int(rng.integers(len(items)))]


def strong(rng, language, word):
    """The word, or more of it where that can be said."""
    if word.startswith(("a ", "the ", "far ", "ter")):
        return word
    return f"{pick(rng, DEGREE[language])}{word}{pick(rng, AFTER[language])}"


def described(rng, language, thing):
    """What the thing is like: text and mood (-2..2)."""
    mood, words = (2, PRAISE) if rng.random() < 0.5 else (-2, BLAME)
    word, be = pick(rng, words[language]), pick(rng, BE[language])
    turn = rng.random()
    if turn < 0.18:
        return f"{thing}{be}{pick(rng, NOT[language])}{word}", -mood
    if turn < 0.3:
        return f"{thing}{be}{pick(rng, HARDLY[language])}{word}", -mood // 2
    return f"{thing}{be}{strong(rng, language, word)}", mood


def felt(rng, language, thing):
    """What somebody feels about it."""
    turn = rng.random()
    mood, verbs = (2, LIKE) if turn < 0.4 else (-2, HATE) if turn < 0.7 else (-2, LIKE_NOT)
    about = thing if rng.random() < 0.7 else pick(rng, PRONOUN[language])
    return f"{pick(rng, WHO[language])} {pick(rng, verbs[language])} {about}", mood


def short(rng, language, noun):
    """Two or three words, as people write below a picture."""
    mood, words = (2, PRAISE) if rng.random() < 0.5 else (-2, BLAME)
    word = pick(rng, words[language])
    how = rng.random()
    if how < 0.3:
        return strong(rng, language, word), mood
    if how < 0.5:
        return f"{'ini' if language == 'id' else 'this is'} {word}", mood
    if word.startswith(("a ", "the ", "far ")):
        return f"what {word}" if word.startswith("a ") else f"{noun} , {word}", mood
    return f"{noun} {word}" if language == "id" else f"{word} {noun}", mood


def clause(rng, language):
    """Text and mood (-2..2)."""
    thing, noun, facts = pick(rng, THINGS[language])
    if rng.random() < 0.3:
        thing = f"{noun} {pick(rng, PRONOUN['id'])}" if language == "id" else f"this {noun}"
    kind = rng.random()
    if kind < 0.36:
        return f"{thing} {pick(rng, facts)}", 0
    if kind < 0.66:
        return described(rng, language, thing)
    if kind < 0.81:
        return felt(rng, language, thing)
    if kind < 0.92:
        return short(rng, language, noun)
    return (pick(rng, AGAIN[language]), 2) if rng.random() < 0.5 else (pick(rng, NEVER[language]), -2)


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
    if rng.random() < 0.55:
        other, second = clause(rng, language)
        if mood * second < 0:
            text, mood = f"{text} , {pick(rng, BUT[language])} {other}", mood + 2 * second
        else:
            text, mood = f"{text} , {pick(rng, AND[language])} {other}", mood + second
    if len(text) > 8 and rng.random() < 1 / 6:
        text = typing_error(rng, text)
    if rng.random() < 0.2:
        text += pick(rng, [".", "!"])
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
