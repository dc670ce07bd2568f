"""Files of a whole Distiller: one format, and what it says to others."""

import keras
import pytest
import saving
from saving import X, assert_same_values, compiled, make_student, make_teacher

pytestmark = pytest.mark.internals

original = saving.original


@pytest.mark.parametrize("name", ["d.h5", "d.hdf5"])
@pytest.mark.parametrize("kind", [str, lambda path: path], ids=["str", "path"])
def test_a_whole_distiller_in_the_legacy_format_is_refused(
    original, name, kind, tmp_path
):
    with pytest.raises(ValueError, match=r"Use distiller\.save\('.*\.keras'\)"):
        original.save(kind(tmp_path / name))
    assert not (tmp_path / name).exists()


def test_keras_itself_cannot_write_it_either(original, tmp_path):
    with pytest.raises(ValueError, match="Received: a legacy HDF5 file"):
        keras.saving.save_model(original, tmp_path / "d.h5")


def test_a_checkpoint_in_the_legacy_format_is_refused(tmp_path):
    distiller = compiled(make_teacher(), make_student())
    checkpoint = keras.callbacks.ModelCheckpoint(tmp_path / "d.h5")
    with pytest.raises(ValueError, match="cannot be saved whole"):
        saving.train(distiller, callbacks=[checkpoint])


def test_what_the_refusal_names_works(original, tmp_path):
    original.save(tmp_path / "distiller.keras")
    original.save_weights(tmp_path / "distiller.weights.h5")
    original.student.save(tmp_path / "student.h5")
    student = keras.models.load_model(tmp_path / "student.h5", compile=False)
    expected = original.predict(X, verbose=0)
    assert_same_values([student.predict(X, verbose=0)], [expected])
