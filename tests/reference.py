"""The equations of the papers in float64 NumPy, one small function each.

[H] Hinton, Vinyals, Dean 2015. [Z] Zheng, Yang 2024. [D] Zhao, Cui, Song, Qiu,
Liang 2022. Every function is written from the equation as printed, with
probabilities and plain powers, and shares nothing with the package. It is meant
for logits of moderate size only.
"""

import numpy as np


def softmax(logits, temperature=1.0):
    """[H] eq. (1): `exp(z_i/T) / sum_j exp(z_j/T)`."""
    powers = np.exp(np.asarray(logits, "float64") / temperature)
    return powers / powers.sum(axis=-1, keepdims=True)


def kl_divergence(p, q):
    """[Z] section 2: `D(p||q) = sum_i p_i log(p_i / q_i)`."""
    return (p * np.log(p / q)).sum(axis=-1)


def soft_targets(teacher_logits, student_logits, temperature):
    """[H] section 2, [Z] eq. (1): `T^2 D(p_T || q_T)`."""
    p_t = softmax(teacher_logits, temperature)
    q_t = softmax(student_logits, temperature)
    return temperature**2 * kl_divergence(p_t, q_t)


def soft_targets_gradient(teacher_logits, student_logits, temperature):
    """[H] eq. (2) times `T^2`: `T^2 (q_i - p_i) / T`."""
    p_t = softmax(teacher_logits, temperature)
    q_t = softmax(student_logits, temperature)
    return temperature**2 * ((q_t - p_t) / temperature)


def zero_mean(logits):
    """[H] section 2.1: logits "zero-meaned separately for each case"."""
    logits = np.asarray(logits, "float64")
    return logits - logits.mean(axis=-1, keepdims=True)


def logit_matching(teacher_logits, student_logits):
    """[H] section 2.1: `1/(2N) sum_i (z_i - v_i)^2`, zero-mean logits."""
    difference = zero_mean(student_logits) - zero_mean(teacher_logits)
    return (difference**2).sum(axis=-1) / (2 * difference.shape[-1])


def logit_matching_gradient(teacher_logits, student_logits):
    """[H] eq. (4) times `T^2`: `(z_i - v_i) / N`, zero-mean logits."""
    difference = zero_mean(student_logits) - zero_mean(teacher_logits)
    return difference / difference.shape[-1]


def power_transform(p, gamma):
    """[Z] eq. (7) to (9): `p_i^gamma / sum_j p_j^gamma`."""
    return p**gamma / (p**gamma).sum(axis=-1, keepdims=True)


def power_sum(p, gamma):
    """[Z] eq. (22): `U_gamma(p) = sum_j p_j^gamma`."""
    return (p**gamma).sum(axis=-1)


def ttm(teacher_logits, student_logits, temperature):
    """[Z] eq. (2), soft term: `D(p_T || q)`, `p_T` by the power transform."""
    p_t = power_transform(softmax(teacher_logits), 1.0 / temperature)
    return kl_divergence(p_t, softmax(student_logits))


def wttm(teacher_logits, student_logits, temperature):
    """[Z] eq. (23), soft term: `U_{1/T}(p) D(p_T || q)`."""
    weight = power_sum_weight(teacher_logits, temperature)
    return weight * ttm(teacher_logits, student_logits, temperature)


def power_sum_weight(teacher_logits, temperature):
    """[Z] eq. (22): `U_{1/T}(p)`."""
    return power_sum(softmax(teacher_logits), 1.0 / temperature)


def entropy_weight(teacher_logits, temperature):
    """`H(p_T)`."""
    return shannon_entropy(softmax(teacher_logits, temperature))


def confidence_weight(teacher_logits, temperature):
    """`max_i p_i` of `p_T`."""
    return softmax(teacher_logits, temperature).max(axis=-1)


def of_label_weight(teacher_logits, temperature, labels):
    """`p_y` of `p_T`."""
    p = softmax(teacher_logits, temperature)
    return np.take_along_axis(p, labels[..., None], axis=-1)[..., 0]


def shannon_entropy(p):
    """[Z] section 4: `H(p) = -sum_j p_j log p_j`."""
    return -(p * np.log(p)).sum(axis=-1)


def renyi_entropy(p, order):
    """[Z] section 4: `log(sum_j p_j^a) / (1 - a)`, not for `a = 1`."""
    return np.log((p**order).sum(axis=-1)) / (1.0 - order)


def identity_15(teacher_logits, student_logits, temperature):
    """[Z] eq. (15), right: `T D(p_T||q_T) - (T-1) H_{1/T}(q) + (T-1) H(p_T)`.

    The left side is `D(p_T || q)`.
    """
    p_t = softmax(teacher_logits, temperature)
    q, q_t = softmax(student_logits), softmax(student_logits, temperature)
    bonus = renyi_entropy(q, 1.0 / temperature) - shannon_entropy(p_t)
    return temperature * kl_divergence(p_t, q_t) - (temperature - 1.0) * bonus


def gradient_20(teacher_logits, student_logits, temperature):
    """[Z] eq. (20): `dD(p_T || q)/dz = q - p_T`."""
    p_t = power_transform(softmax(teacher_logits), 1.0 / temperature)
    return softmax(student_logits) - p_t


def gradient_21(teacher_logits, student_logits, temperature):
    """[Z] eq. (21): `dD(p_T || q_T)/dz = (q_T - p_T) / T`."""
    p_t = softmax(teacher_logits, temperature)
    return (softmax(student_logits, temperature) - p_t) / temperature


def wttm_gradient(teacher_logits, student_logits, temperature):
    """[Z] eq. (23) and (20): `U_{1/T}(p) (q - p_T)`."""
    weight = power_sum_weight(teacher_logits, temperature)
    gradient = gradient_20(teacher_logits, student_logits, temperature)
    return weight[..., None] * gradient


def sigmoid(logits, temperature=1.0):
    """`1 / (1 + exp(-z/T))`."""
    return 1.0 / (1.0 + np.exp(-np.asarray(logits, "float64") / temperature))


def bernoulli_divergence(p, q):
    """`D(p||q)` of the distributions `(p, 1-p)` and `(q, 1-q)`."""
    return p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))


def sigmoid_targets(teacher_logits, student_logits, temperature):
    """[H] section 2, for each label by itself: `T^2 mean_l D(p_T || q_T)`."""
    p_t = sigmoid(teacher_logits, temperature)
    q_t = sigmoid(student_logits, temperature)
    return temperature**2 * bernoulli_divergence(p_t, q_t).mean(axis=-1)


def sigmoid_targets_gradient(teacher_logits, student_logits, temperature):
    """[H] eq. (2) times `T^2`, for each of L labels: `T (q_l - p_l) / L`."""
    p_t = sigmoid(teacher_logits, temperature)
    q_t = sigmoid(student_logits, temperature)
    return temperature * (q_t - p_t) / p_t.shape[-1]


def decoupled(logits, labels, temperature):
    """[D] section 3.1: `b = (p_t, p_others)`, and `p` among the others.

    The second has a 0 in the place of the label's class.
    """
    p = softmax(logits, temperature)
    target = np.eye(p.shape[-1])[labels]
    others = p * (1 - target)
    b = np.stack([(p * target).sum(axis=-1), others.sum(axis=-1)], axis=-1)
    return b, others / b[..., 1:], target


def dkd(
    teacher_logits,
    student_logits,
    labels,
    target_weight,
    nontarget_weight,
    temperature,
):
    """[D] eq. (7): `alpha TCKD + beta NCKD`, times `T^2` as in their code."""
    b_p, p, target = decoupled(teacher_logits, labels, temperature)
    b_q, q, _ = decoupled(student_logits, labels, temperature)
    # 1 log(1/1) in the place of the label's class.
    nckd = kl_divergence(p + target, q + target)
    tckd = kl_divergence(b_p, b_q)
    return temperature**2 * (target_weight * tckd + nontarget_weight * nckd)


def dkd_gradient(
    teacher_logits,
    student_logits,
    labels,
    target_weight,
    nontarget_weight,
    temperature,
):
    """Of [D] eq. (7), by the log odds of the label and its others' softmax."""
    b_p, p, target = decoupled(teacher_logits, labels, temperature)
    b_q, q, _ = decoupled(student_logits, labels, temperature)
    tckd = (b_q - b_p)[..., :1] * (target - q)
    return temperature * (target_weight * tckd + nontarget_weight * (q - p))


def renyi_gradient(logits, temperature):
    """From [Z] eq. (15), (20), (21): `dH_{1/T}(q)/dz = (q_T - q) / (T-1)`."""
    difference = softmax(logits, temperature) - softmax(logits)
    return difference / (temperature - 1.0)


def expected_calibration_error(probabilities, labels, bins=15):
    """Guo et al. 2017, eq. (3): `sum_m |B_m|/n |acc(B_m) - conf(B_m)|`.

    Bin `m` holds the confidences in `((m-1)/bins, m/bins]`.
    """
    probabilities = np.asarray(probabilities, "float64")
    confidence = probabilities.max(axis=-1)
    correct = probabilities.argmax(axis=-1) == np.asarray(labels)
    error = 0.0
    for m in range(1, bins + 1):
        members = (confidence > (m - 1) / bins) & (confidence <= m / bins)
        if members.any():
            gap = correct[members].mean() - confidence[members].mean()
            error += members.mean() * abs(gap)
    return error


def arithmetic_mean(member_logits, temperature=1.0):
    """[H] section 2: arithmetic mean of the members' distributions."""
    members = [softmax(logits, temperature) for logits in member_logits]
    return sum(members) / len(members)


def geometric_mean(member_logits, temperature=1.0):
    """[H] section 2: geometric mean of the members' distributions, sum 1."""
    members = [softmax(logits, temperature) for logits in member_logits]
    mean = np.prod(members, axis=0) ** (1.0 / len(members))
    return mean / mean.sum(axis=-1, keepdims=True)


def combination_objective(q, generalist, specialists):
    """[H] eq. (5): `KL(p_g, q) + sum_m KL(p_m, q)`, for one image.

    A specialist is a pair of its special classes and its distribution, the
    dustbin last; or of None and a distribution over all classes.
    """
    total = kl_divergence(generalist, q)
    for classes, p in specialists:
        if classes is None:
            total += kl_divergence(p, q)
            continue
        dustbin = np.delete(q, classes).sum()
        total += kl_divergence(p, np.append(q[classes], dustbin))
    return total


def combination_gradient(q, generalist, specialists):
    """The gradient of [H] eq. (5) to `z`, where `q = softmax(z)`.

    `(1 + |A|) q_j - p_g_j - sum_m (p_m_j, or outside of the special classes
    p_m_dustbin q_j / Q_m_dustbin)`. At the solution it is 0.
    """
    gradient = (1 + len(specialists)) * q - generalist
    for classes, p in specialists:
        if classes is None:
            gradient = gradient - p
            continue
        outside = np.setdiff1d(np.arange(len(q)), classes)
        gradient[classes] -= p[:-1]
        gradient[outside] -= p[-1] * q[outside] / q[outside].sum()
    return gradient


def combined(generalist, specialists, steps=3000, tolerance=1e-11):
    """[H] section 5.3: gradient descent on `z` in eq. (5), for one image.

    From `q = p_g`. The step is that of Barzilai and Borwein, 1988, halved
    while it makes `F` larger than in all of the last ten steps.
    """
    parts = (generalist, specialists)
    z = np.log(generalist)
    gradient = combination_gradient(softmax(z), *parts)
    size, values = 1.0, [combination_objective(softmax(z), *parts)]
    for _ in range(steps):
        if np.abs(gradient).max() < tolerance:
            break
        while True:
            new = z - size * gradient
            value = combination_objective(softmax(new), *parts)
            if value <= max(values[-10:]) + 1e-14:
                break
            size /= 2
        change = combination_gradient(softmax(new), *parts) - gradient
        moved, curvature = new - z, (new - z) @ change
        size = moved @ moved / curvature if curvature > 0 else 2 * size
        z, gradient, values = new, gradient + change, [*values, value]
    return softmax(z)


def reverse_kl(teacher_logits, student_logits, temperature):
    """Gu et al. 2024, section 2.1, times `T^2`: `T^2 D(q_T || p_T)`."""
    p_t = softmax(teacher_logits, temperature)
    q_t = softmax(student_logits, temperature)
    return temperature**2 * kl_divergence(q_t, p_t)


def reverse_kl_gradient(teacher_logits, student_logits, temperature):
    """`df/dq = log(q/p) + 1`, through the softmax at `T`."""
    p_t = softmax(teacher_logits, temperature)
    q_t = softmax(student_logits, temperature)
    slope = temperature**2 * (np.log(q_t / p_t) + 1)
    return through_softmax(slope, q_t) / temperature


def through_softmax(slope, q):
    """`J' g` of the softmax with the values `q`."""
    return q * (slope - (q * slope).sum(axis=-1, keepdims=True))


def jensen_shannon(teacher_logits, student_logits, teacher_share, temperature):
    """Agarwal et al. 2024, section 2, times `T^2`."""
    p_t = softmax(teacher_logits, temperature)
    q_t = softmax(student_logits, temperature)
    m = teacher_share * p_t + (1 - teacher_share) * q_t
    of_teacher = teacher_share * kl_divergence(p_t, m)
    of_student = (1 - teacher_share) * kl_divergence(q_t, m)
    return temperature**2 * (of_teacher + of_student)


def jensen_shannon_gradient(
    teacher_logits, student_logits, teacher_share, temperature
):
    """`df/dq = (1-b) log(q/m)`, as the other terms sum to 0."""
    p_t = softmax(teacher_logits, temperature)
    q_t = softmax(student_logits, temperature)
    m = teacher_share * p_t + (1 - teacher_share) * q_t
    slope = temperature**2 * (1 - teacher_share) * np.log(q_t / m)
    return through_softmax(slope, q_t) / temperature


def one_hot(labels, classes):
    return np.eye(classes)[labels]


def hard_labels(teacher_logits, student_logits):
    """Touvron et al. 2021, eq. (3): the cross-entropy with `argmax v`."""
    best = np.argmax(teacher_logits, axis=-1)[..., None]
    q = softmax(student_logits)
    return -np.log(np.take_along_axis(q, best, axis=-1)[..., 0])


def hard_labels_gradient(teacher_logits, student_logits):
    q = softmax(student_logits)
    return q - one_hot(np.argmax(teacher_logits, axis=-1), q.shape[-1])


def others(logits, labels, temperature):
    """The softmax of the classes other than the label's, 0 for that."""
    powers = np.exp(np.asarray(logits, "float64") / temperature)
    powers = powers * (1 - one_hot(labels, powers.shape[-1]))
    return powers / powers.sum(axis=-1, keepdims=True)


def nkd(teacher_logits, student_logits, labels, nontarget_weight, temperature):
    """Yang et al. 2023: `-p_y log q_y - g T^2 sum o(v/T) log o(z/T)`."""
    p, q = softmax(teacher_logits), softmax(student_logits)
    target = one_hot(labels, p.shape[-1])
    of_label = -(target * p * np.log(q)).sum(axis=-1)
    v, z = (
        others(logits, labels, temperature)
        for logits in (teacher_logits, student_logits)
    )
    rest = -(v * np.log(z + target)).sum(axis=-1)
    return of_label + nontarget_weight * temperature**2 * rest


def nkd_gradient(
    teacher_logits, student_logits, labels, nontarget_weight, temperature
):
    p, q = softmax(teacher_logits), softmax(student_logits)
    target = one_hot(labels, p.shape[-1])
    p_label = (p * target).sum(axis=-1, keepdims=True)
    v, z = (
        others(logits, labels, temperature)
        for logits in (teacher_logits, student_logits)
    )
    rest = nontarget_weight * temperature * (z - v)
    return p_label * (q - target) + rest


def standardized(logits):
    """Sun et al. 2024, section 4: `(x - mean x) / (sd x + 1e-7)`."""
    logits = np.asarray(logits, "float64")
    deviation = logits.std(axis=-1, ddof=1, keepdims=True)
    return zero_mean(logits) / (deviation + 1e-7)


def through_standardized(slope, logits):
    """`J' g` of the standardisation at these logits."""
    centred = zero_mean(logits)
    deviation = centred.std(axis=-1, ddof=1, keepdims=True)
    scale = deviation + 1e-7
    along = (slope * centred).sum(axis=-1, keepdims=True)
    along = along / ((centred.shape[-1] - 1) * deviation * scale**2)
    return zero_mean(slope) / scale - centred * along


def correlation(a, b):
    """Pearson's, of rows, with 1e-8 in the denominator."""
    a, b = zero_mean(a), zero_mean(b)
    norms = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    return (a * b).sum(axis=-1) / (norms + 1e-8)


def dist(
    teacher_logits, student_logits, inter_weight, intra_weight, temperature
):
    """Huang et al. 2022, section 3: of examples and of classes."""
    p, q = (
        softmax(logits, temperature).reshape(-1, np.shape(logits)[-1])
        for logits in (teacher_logits, student_logits)
    )
    inter = 1 - correlation(p, q).mean()
    intra = 1 - correlation(p.T, q.T).mean()
    return temperature**2 * (inter_weight * inter + intra_weight * intra)
