import numpy as np
import pytest
from hypothesis import given
from prediction_tables import table, tables
from sklearn import metrics as oracle

from moenas.errors import DataError
from moenas.metrics import METRICS
from moenas.metrics.accuracy import accuracy, balanced_accuracy, tnr, tpr


@given(tables())
def test_equal_scikit_learn(predictions):
    frame = predictions.frame
    args = frame["label"], frame["prediction"]
    weight = frame["weight"]
    expected = {
        "accuracy": oracle.accuracy_score(*args, sample_weight=weight),
        "balanced_accuracy": oracle.balanced_accuracy_score(*args, sample_weight=weight),
        "tpr": oracle.recall_score(*args, sample_weight=weight),
        "tnr": oracle.recall_score(*args, sample_weight=weight, pos_label=0),
    }
    for name, value in expected.items():
        assert METRICS[name].function(predictions) == pytest.approx(value, abs=1e-12)


def test_a_model_that_always_says_person_has_balanced_accuracy_one_half():
    always = table([1] * 90 + [0] * 10, [1] * 100)
    assert accuracy(always) == 0.9
    assert balanced_accuracy(always) == 0.5
    assert (tpr(always), tnr(always)) == (1.0, 0.0)


def test_one_label_alone_is_an_error_that_says_what_is_missing():
    persons = table([1, 1], [1, 0])
    assert tpr(persons) == 0.5
    with pytest.raises(DataError, match=r"'balanced_accuracy'.*images without a person"):
        balanced_accuracy(persons)
    with pytest.raises(DataError, match=r"'tnr'.*images without a person"):
        tnr(persons)


def test_an_empty_table_is_an_error():
    with pytest.raises(DataError, match="hold no image"):
        accuracy(table([1], [1]).split("search"))


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        ([1.0, -1.0], "Row 1.*weight -1.0 is no number that is finite and at least 0"),
        ([1.0, np.inf], "Row 1.*weight inf is no number that is finite"),
        ([0, 0], "All"),
    ],
)
def test_impossible_weights_are_errors(weight, message):
    with pytest.raises(DataError, match=message):
        accuracy(table([1, 0], [1, 0], weight=weight))


def test_a_weight_of_two_is_the_image_twice():
    once = table([1, 0, 1, 0], [1, 0, 0, 1], weight=[2.0, 1.0, 1.0, 3.0])
    twice = table([1, 1, 0, 1, 0, 0, 0], [1, 1, 0, 0, 1, 1, 1])
    assert np.isclose(balanced_accuracy(once), balanced_accuracy(twice), atol=1e-15)
