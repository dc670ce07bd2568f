"""Spoken digits: features, splits and decisions."""

import numpy as np
import pytest

from benchmarks.paper import speech

pytestmark = pytest.mark.benchmark


def log_mel(sound):
    """The definition, in float64: frames, Hann, power, HTK triangles, dB."""
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(200) / 200)
    starts = range(0, len(sound) - 199, 80)
    power = np.array(
        [np.abs(np.fft.rfft(sound[s : s + 200] * window, 512)) for s in starts]
    )

    def mel(hertz):
        return 1127.0 * np.log(1 + hertz / 700)

    edges = np.linspace(mel(20), mel(4000), 42)
    bins = mel(np.arange(257) * 8000 / 512)
    bank = np.zeros((257, 40))
    for band in range(40):
        left, centre, right = edges[band : band + 3]
        rising = (bins - left) / (centre - left)
        falling = (right - bins) / (right - centre)
        bank[:, band] = np.maximum(0, np.minimum(rising, falling))
    bank[0] = 0
    return 10 * np.log10(np.maximum(power**2 @ bank, 1e-6))


@pytest.fixture(scope="module")
def sounds():
    """A rising tone in noise, a short loud noise, and near silence."""
    random = np.random.default_rng(0)
    time = np.arange(5003) / 8000
    tone = 0.3 * np.sin(2 * np.pi * (200 + 1500 * time) * time)
    return [
        tone + random.normal(0, 0.01, len(time)),
        random.uniform(-1, 1, 279),
        random.normal(0, 1e-5, 3999),
    ]


@pytest.fixture(scope="module")
def data():
    """Features that tell utterance and frame: 10 * utterance + frame."""
    shape = np.ones(speech.BANDS)
    lengths = [3, 5, 4, 6, 2, 7]
    return speech.Recordings(
        [
            ((10.0 * i + np.arange(length))[:, None] * shape)
            for i, length in enumerate(lengths)
        ],
        np.array([7, 1, 7, 1, 3, 3], "int32"),
        np.array(["anna", "anna", "ben", "ben", "anna", "ben"]),
        np.array([0, 4, 5, 9, 10, 49], "int32"),
    )


def test_features_are_those_of_the_definition(sounds):
    features = speech.log_mel(sounds)
    for found, sound in zip(features, sounds, strict=True):
        expected = log_mel(sound)
        assert found.shape == expected.shape
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, atol=0.02)


def test_the_absolute_floor_is_the_only_one(sounds):
    _, loud, silent = speech.log_mel(sounds)
    assert silent.min() == pytest.approx(-60)
    assert loud.max() - silent.min() > 80


def test_features_do_not_depend_on_the_batch(sounds):
    together = speech.log_mel(sounds, batch_size=3)
    for features, sound in zip(together, sounds, strict=True):
        (alone,) = speech.log_mel([sound])
        np.testing.assert_allclose(features, alone, atol=1e-3)


@pytest.mark.parametrize("length, windows", [(200, 1), (279, 1), (280, 2)])
def test_only_whole_windows_count(length, windows):
    (features,) = speech.log_mel([np.ones(length)])
    assert features.shape == (windows, 40)


def test_a_tone_sounds_in_the_band_of_its_pitch():
    time = np.arange(2000) / 8000
    (features,) = speech.log_mel([np.sin(2 * np.pi * 1000 * time)])
    edges = np.linspace(*(1127 * np.log1p(np.array([20, 4000]) / 700)), 42)
    nearest = np.argmin(np.abs(edges[1:-1] - 1127 * np.log1p(1000 / 700)))
    assert set(features.argmax(axis=-1)) == {nearest}


def test_context_repeats_the_ends_of_an_utterance():
    features = np.arange(20.0).reshape(20, 1) + np.zeros(speech.BANDS)
    found = speech.in_context(features)
    found = found.reshape(20, speech.CONTEXT, speech.BANDS)
    for frame in range(20):
        around = np.arange(frame - speech.LEFT, frame + speech.RIGHT + 1)
        np.testing.assert_array_equal(
            found[frame, :, 0], np.clip(around, 0, 19)
        )
        assert np.all(found[frame] == found[frame, :, :1])


def test_frames_stay_within_their_utterance(data):
    chosen = np.array([True, False, True, False, False, True])
    everything = np.ones(6, bool)
    x, y, utterance = speech.frames(data, chosen, everything)
    assert x.shape == (3 + 4 + 7, speech.CONTEXT * speech.BANDS)
    assert x.dtype == np.float32
    np.testing.assert_array_equal(utterance, [0] * 3 + [2] * 4 + [5] * 7)
    np.testing.assert_array_equal(y, [7] * 7 + [3] * 7)
    known = np.concatenate(data.features)
    raw = x * known.std(axis=0)[0] + known.mean(axis=0)[0]
    np.testing.assert_array_equal(
        np.round(raw) // 10, x * 0 + utterance[:, None]
    )


def test_bands_are_normalised_by_training_utterances_alone(data):
    training, test = speech.split_by_take(data)
    x, _, _ = speech.frames(data, training, training)
    middle = x.reshape(len(x), speech.CONTEXT, -1)[:, speech.LEFT]
    np.testing.assert_allclose(middle.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(middle.std(axis=0), 1, atol=1e-5)
    x, _, _ = speech.frames(data, test, training)
    assert x.mean() < -1  # The test utterances have the lowest values.
    own, _, _ = speech.frames(data, test, test)
    assert abs(own.mean()) < 0.1


def test_splits_are_disjoint(data):
    training, test = speech.split_by_take(data)
    np.testing.assert_array_equal(test, data.takes < 5)
    np.testing.assert_array_equal(training, data.takes >= 5)
    kept, held_out = speech.split_by_take(data, held_out=True)
    np.testing.assert_array_equal(kept, data.takes >= 10)
    assert not np.any(held_out & (kept | test))
    assert np.all(kept | held_out | test)


def test_an_utterance_is_the_digit_of_the_largest_mean():
    # Two of three frames say 0, but the mean says 1.
    probabilities = np.array(
        [[0.6, 0.4], [0.6, 0.4], [0.0, 1.0], [0.9, 0.1], [0.2, 0.8]]
    )
    y, utterance = np.array([1, 1, 1, 1, 1]), np.array([4, 4, 4, 8, 8])
    decisions, digits = speech.decide(probabilities, y, utterance)
    np.testing.assert_array_equal(decisions, [1, 0])
    np.testing.assert_array_equal(digits, [1, 1])


class Fixed:
    """A model that gives the same logits whatever it is asked."""

    def __init__(self, logits):
        self.logits = logits

    def predict(self, x, **_):
        return self.logits


def test_utterance_error():
    model = Fixed(np.log(np.array([[0.6, 0.4], [0.6, 0.4], [0.1, 0.9]])))
    y, utterance = np.array([0, 0, 0]), np.array([0, 0, 1])
    assert speech.utterance_error(model, None, y, utterance) == 0.5
