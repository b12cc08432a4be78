import random

import numpy as np
import pyarrow as pa

from clipvil_mmf.data.annotators import soft_labels
from clipvil_mmf.data.vqa_normalize import normalize_answer, soft_scores


def test_many_questions_get_what_each_gets_alone():
    lots = random.Random(0)
    spellings = ["Yes", "yes", "no.", "No", "two", "2", "a dog", "dog", "the cat", "red, blue"]
    given = [lots.choices(spellings[: lots.randint(1, 10)], k=lots.choice((1, 3, 10)))
             for _ in range(300)]  # fmt: skip
    mains = [normalize_answer(lots.choice(spellings)) for _ in given]
    flat = pa.array([answer for people in given for answer in people])
    sizes, answers, scores = soft_labels(
        flat.dictionary_encode(), np.asarray([len(people) for people in given]), mains
    )
    ends = np.cumsum(sizes).tolist()
    texts = answers.to_pylist()
    for people, main, size, end in zip(given, mains, sizes.tolist(), ends, strict=True):
        known = soft_scores(people)
        best = sorted(known, key=lambda answer: (answer == main, known[answer]), reverse=True)
        assert texts[end - size : end] == best
        assert scores[end - size : end].tolist() == np.float32([known[a] for a in best]).tolist()
