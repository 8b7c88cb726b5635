#!/usr/bin/python3
"""Writes unigram.json and unigram_bytes.json (tokenizer.json of small Unigram models) and what they must
give: *.expected.json. Debian packages: python3-sentencepiece 0.1.97.

SentencePiece learns the models and their map of characters, whose rules are here, and encodes the strings.
Beside it stands a search by brute force over all ways to cut a word, by the definition (arXiv 1804.10959);
both must agree, or the string is not written. Ids are places in the vocabulary."""
import base64
import json
import os
import random
import tempfile

import sentencepiece

HERE = os.path.dirname(os.path.abspath(__file__))
MARK = "\u2581"
# code points to code points, as SentencePiece's normalization_rule_tsv has them
RULES = [("41", "61"), ("42", "62"), ("C9", "E9"), ("65 301", "E9"), ("45 301", "E9"), ("2460", "31"),
         ("FB01", "66 69"), ("9", "20"), ("A0", "20"), ("3000", "20"), ("200B", ""), ("FF21", "61"),
         ("1F600", "3A 29"), ("2026", "2E 2E 2E")]


def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, at


def fields(data):
    """The fields of a protocol buffer: (number, value)."""
    at = 0
    while at < len(data):
        key, at = varint(data, at)
        if key & 7 == 0:
            value, at = varint(data, at)
        elif key & 7 == 2:
            n, at = varint(data, at)
            value, at = data[at:at + n], at + n
        else:
            n = {1: 8, 5: 4}[key & 7]
            value, at = data[at:at + n], at + n
        yield key >> 3, value


def charsmap(model):
    spec = dict(fields(model))[3]
    return dict(fields(spec))[2]


def corpus():
    rng = random.Random(7)
    words = ("the cat sat on mat hello world fish fisher fishing selamat pagi dunia caf\u00e9 na\u00efve "
             "sudah belum sekolah sekolahan ... 12 1 123 abba baba cab").split()
    return [" ".join(rng.choice(words) for _ in range(8)) for _ in range(400)]


def strings():
    rng = random.Random(11)
    letters = "abcdefhilmnostuw\u00e91.AB\u00c9"
    out = ["hello world", " hello", "hello ", "a  b   c", "", "\t the\tcat", "\uff21bba", "\ufb01sh\ufb01ng",
           "caf\u00e9 cafe\u0301 CAFE\u0301", "\u2460\u2460", "no\u200bthing", "\U0001F600 \U0001F601",
           "z", "zzz", "xyz hello", "hellozworld", "\u4e16\u754c", "the\u00a0cat\u3000sat", "fishing\u2026",
           "\u2581the", "ABBA", "sekolahanfishing"]
    for _ in range(120):
        out.append(" ".join("".join(rng.choice(letters) for _ in range(rng.randint(1, 8)))
                            for _ in range(rng.randint(1, 4))))
    return out


def normalize(text):
    """The rules, the longest first; then surplus spaces as SentencePiece takes them off."""
    rules = sorted(((("".join(chr(int(c, 16)) for c in a.split())),
                     "".join(chr(int(c, 16)) for c in b.split())) for a, b in RULES),
                   key=lambda r: -len(r[0]))
    out, at = "", 0
    while at < len(text):
        for old, new in rules:
            if text.startswith(old, at):
                out, at = out + new, at + len(old)
                break
        else:
            out, at = out + text[at], at + 1
    return [w for w in out.split(" ") if w]


def best_cut(word, scores, unknown_score):
    """Score and tokens (None: an unknown character) of the best of all cuts; None when two are as good."""
    found = []

    def go(at, score, tokens):
        if at == len(word):
            found.append((score, tokens))
            return
        for end in range(at + 1, len(word) + 1):
            if word[at:end] in scores:
                go(end, score + scores[word[at:end]], tokens + [word[at:end]])
        if word[at] not in scores:
            go(at + 1, score + unknown_score, tokens + [None])

    go(0, 0.0, [])
    found.sort(key=lambda f: -f[0])
    is_tie = len(found) > 1 and found[0][0] - found[1][0] < 1e-6
    return None if is_tie else found[0][1]


def brute(text, vocabulary, has_bytes):
    ids = {t: i for i, (t, _) in enumerate(vocabulary)}
    scores = {t: s for i, (t, s) in enumerate(vocabulary)
              if i > 2 and not (t.startswith("<0x") and len(t) == 6)}
    unknown_score = min(scores.values()) - 10.0
    out = []
    for word in normalize(text):
        marked = MARK + word
        if marked.startswith(MARK * 2):
            marked = word
        cut = best_cut(marked, scores, unknown_score)
        if cut is None:
            return None
        at = 0
        for i, token in enumerate(cut):
            if token is not None:
                out.append(ids[token])
            elif has_bytes:
                out += [ids[f"<0x{b:02X}>"] for b in marked[at].encode()]
            elif i == 0 or cut[i - 1] is not None:
                out.append(0)
            at += len(token) if token is not None else 1
    return out


def make(name, has_bytes):
    with tempfile.TemporaryDirectory() as folder:
        text, rules, prefix = (os.path.join(folder, f) for f in ("text", "rules", "m"))
        with open(text, "w") as f:
            f.write("\n".join(corpus()))
        with open(rules, "w") as f:
            f.write("".join(f"{a}\t{b}\n" for a, b in RULES))
        sentencepiece.SentencePieceTrainer.train(
            input=text, model_prefix=prefix, model_type="unigram", normalization_rule_tsv=rules,
            vocab_size=96 + 256 * has_bytes, byte_fallback=has_bytes, hard_vocab_limit=False,
            num_threads=1, minloglevel=2)
        with open(prefix + ".model", "rb") as f:
            model = f.read()
        sp = sentencepiece.SentencePieceProcessor(model_file=prefix + ".model")
    vocabulary = [[sp.id_to_piece(i), sp.get_score(i)] for i in range(sp.get_piece_size())]
    splits = [{"type": "WhitespaceSplit"},
              {"type": "Metaspace", "replacement": MARK, "prepend_scheme": "always"}]
    tokenizer = {
        "version": "1.0",
        "added_tokens": [{"id": i, "content": vocabulary[i][0], "special": True} for i in range(3)],
        "normalizer": {"type": "Precompiled",
                       "precompiled_charsmap": base64.b64encode(charsmap(model)).decode()},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": splits},
        "post_processor": {"type": "TemplateProcessing", "single": [
            {"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
            {"SpecialToken": {"id": "</s>", "type_id": 0}}],
            "special_tokens": {t: {"id": t, "ids": [i], "tokens": [t]} for t, i in (("<s>", 1), ("</s>", 2))}},
        "decoder": {"type": "Metaspace", "replacement": MARK},
        "model": {"type": "Unigram", "unk_id": 0, "byte_fallback": has_bytes, "vocab": vocabulary}}
    rows, n_left_out = [], 0
    for text in strings():
        want = sp.encode(text)
        if brute(text, vocabulary, has_bytes) == want:
            rows.append({"text": text, "ids": want})
        else:
            n_left_out += 1
            print(name, "left out:", ascii(text), want, brute(text, vocabulary, has_bytes))
    with open(os.path.join(HERE, name + ".json"), "w") as f:
        f.write(json.dumps(tokenizer) + "\n")
    with open(os.path.join(HERE, name + ".expected.json"), "w") as f:
        f.write('{"strings": [\n' + ",\n".join(json.dumps(r) for r in rows) + "\n]}\n")
    print(name, len(vocabulary), "tokens,", len(rows), "strings,", n_left_out, "left out")


make("unigram", False)
make("unigram_bytes", True)
