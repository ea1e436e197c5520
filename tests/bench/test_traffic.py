"""Conversations are decided by their shape, their seed and their words."""

from dataclasses import replace

from bench.traffic import Shape, sessions

SHAPE = Shape(sessions=5, turns=3, system_prompts=2, system_words=8, question_words=4)


def test_the_same_seed_gives_the_same_conversations() -> None:
    assert list(sessions(SHAPE, 1)) == list(sessions(SHAPE, 1))
    assert list(sessions(SHAPE, 1)) != list(sessions(SHAPE, 2))


def test_all_texts_are_of_the_words_that_are_given() -> None:
    for session in sessions(SHAPE, 1, ("da", "do")):
        assert set(" ".join((session.system, *session.questions)).split()) <= {"da", "do"}


def test_a_document_is_in_the_first_question_only() -> None:
    shape = replace(SHAPE, document_words=10)
    lengths = [[len(question.split()) for question in each.questions] for each in sessions(shape, 1)]
    assert lengths == [[14, 4, 4]] * 5
