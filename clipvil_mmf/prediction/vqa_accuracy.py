"""The official VQA accuracy. Imports the standard library.

Source: ``vqaEval.py`` of GT-Vision-Lab/VQA (PythonEvaluationTools). What it does, step by step:

1. In the prediction and in each annotator's answer newlines and tabs become blanks, and blanks at
   both ends go.
2. Only if the annotators' answers now differ from each other, they and the prediction are
   normalised (``clipvil_mmf.data.vqa_normalize``). Where all agree, the prediction has to equal
   them to the letter: ``Yes`` does not match ten times ``yes``.
3. For each annotator in turn, the prediction gets min(matches among the *other* annotators / 3, 1);
   the accuracy is the mean of these.
"""

from __future__ import annotations

from collections.abc import Sequence

from clipvil_mmf.data.vqa_normalize import clean_answer, leave_one_out, normalize_answer


def vqa_accuracy(prediction: str, annotators: Sequence[str]) -> float:
    """The accuracy of a prediction in [0, 1].

    With VQA v2's ten annotators: 0, 0.3, 0.6, 0.9 and 1 for 0, 1, 2, 3 and more matches.
    """
    given = clean_answer(prediction)
    answers = [clean_answer(answer) for answer in annotators]
    if len(set(answers)) > 1:
        given = normalize_answer(given)
        answers = [normalize_answer(answer) for answer in answers]
    return leave_one_out(answers.count(given), len(answers))
