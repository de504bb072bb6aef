import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.preprocessing import scale
from sklearn.svm import SVC, SVR, NuSVC, NuSVR, OneClassSVM

from exporter.errors import UnsupportedError
from tests.unit.exporter.reading.exactness import assert_exact, program_of

IRIS, SPECIES = load_iris(return_X_y=True)
CANCER, IS_BENIGN = load_breast_cancer(return_X_y=True)
DIABETES, VALUES = load_diabetes(return_X_y=True)
DATA = {2: (scale(CANCER), IS_BENIGN), 3: (scale(IRIS), np.array(["a", "b", "c"])[SPECIES])}
KERNELS = ("linear", "rbf", "poly", "sigmoid")


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("shape", ["ovr", "ovo"])
@pytest.mark.parametrize("kind", [SVC, NuSVC])
def test_decisions_and_labels_are_those_of_libsvm(kind, shape, n_classes, kernel):
    rows, truth = DATA[n_classes]
    settings = {"nu": 0.05} if kind is NuSVC else {}
    machine = kind(kernel=kernel, decision_function_shape=shape, **settings).fit(rows, truth)
    asked = np.concatenate([rows, 1.5 * rows])
    # Multipliers of a thousand take digits from the sum of kernels that are rounded to float32.
    assert_exact(machine, asked, "decision", tolerance=1e-4 if settings else 1e-5)
    assert_exact(machine, asked, "label")


@pytest.mark.filterwarnings("ignore:The `probability`:FutureWarning")
@pytest.mark.parametrize("kind", [SVC, NuSVC])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_probabilities_are_coupled_as_libsvm_does(kind, n_classes):
    """With two classes too: libsvm's iteration stops early where the two are nearly alike."""
    rows, truth = DATA[n_classes]
    settings = {"nu": 0.05} if kind is NuSVC else {}
    machine = kind(probability=True, random_state=0, **settings).fit(rows, truth)
    assert_exact(machine, np.concatenate([rows, rows / 10, -rows]), "probabilities")


def test_ties_are_broken_when_that_was_asked_for():
    rows, truth = DATA[3]
    assert_exact(SVC(C=5, gamma=0.1, break_ties=True).fit(rows, truth), np.concatenate([rows, 3 * rows]), "label")


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("kind", [SVR, NuSVR])
def test_regressors_are_read(kind, kernel):
    assert_exact(kind(kernel=kernel, C=10, gamma="auto").fit(DIABETES, VALUES), DIABETES, "value")


def test_a_regressor_without_vectors_answers_its_bias():
    assert_exact(SVR(epsilon=1000).fit(DIABETES, VALUES), DIABETES, "value")


@pytest.mark.parametrize("kernel", KERNELS)
def test_one_class_is_read(kernel):
    assert_exact(OneClassSVM(kernel=kernel, nu=0.2).fit(IRIS), IRIS * 1.2, "decision")


def test_kernels_of_others_are_refused():
    machine = SVC(kernel=lambda a, b: a @ b.T).fit(IRIS, SPECIES)
    with pytest.raises(UnsupportedError, match="SVC with the kernel <function"):
        program_of(machine, IRIS, "decision")
    given = SVC(kernel="precomputed").fit(IRIS @ IRIS.T, SPECIES)
    with pytest.raises(UnsupportedError, match="SVC with the kernel 'precomputed' is not supported"):
        program_of(given, IRIS @ IRIS.T, "decision")


def test_probabilities_that_were_not_trained_are_refused():
    with pytest.raises(UnsupportedError, match="SVC with probabilities, which it was not trained for"):
        program_of(SVC().fit(IRIS, SPECIES), IRIS, "probabilities")


def test_a_machine_that_met_fewer_classes_than_it_names_is_refused():
    weights = np.where(SPECIES == 2, 0.0, 1.0)
    with pytest.raises(UnsupportedError, match="SVC trained where all rows of a class weighed nothing"):
        program_of(SVC().fit(IRIS, SPECIES, weights), IRIS, "label")


@pytest.mark.parametrize("machine", [SVC(), SVC(kernel="linear"), SVR(), OneClassSVM()], ids=repr)
def test_a_machine_that_was_trained_on_sparse_rows_is_read(machine):
    response = {SVC: "label", SVR: "value", OneClassSVM: "decision"}[type(machine)]
    assert_exact(machine.fit(csr_matrix(IRIS), SPECIES), IRIS, response)
