import pytest
from prediction_tables import table

from moenas.errors import DataError
from moenas.metrics.overfitting import generalisation, overfitting

LABEL = [1, 1, 0, 0] * 2
SPLIT = ["val"] * 4 + ["report"] * 4


def test_is_validation_minus_test_balanced_accuracy():
    worse = table(LABEL, [1, 1, 0, 0, 1, 0, 0, 0], split=SPLIT)
    assert overfitting(worse) == pytest.approx(0.25)
    better = table(LABEL, [1, 0, 0, 0, 1, 1, 0, 0], split=SPLIT)
    assert overfitting(better) == pytest.approx(-0.25)
    assert generalisation(worse) == generalisation(better) == pytest.approx(-0.25)


def test_training_images_play_no_part():
    split = ["train"] * 4 + SPLIT
    more = table([1, 1, 0, 0, *LABEL], [0, 0, 1, 1, 1, 1, 0, 0, 1, 0, 0, 0], split=split)
    assert overfitting(more) == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("split", "message"),
    [
        (["val"] * 8, "have none"),
        (["val"] * 4 + ["search", "report"] * 2, "search"),
        (["report"] * 8, "needs predictions of split 'val'"),
        (["val"] * 2 + ["report"] * 6, "both splits need"),
    ],
)
def test_needs_validation_and_one_test_split(split, message):
    with pytest.raises(DataError, match=message):
        overfitting(table(LABEL, LABEL, split=split))
