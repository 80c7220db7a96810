import pytest

from moenas.models.kernels import loader


@pytest.fixture(scope="session")
def kernel():
    """The compiled kernel, built once a session."""
    found = loader.kernel()
    if found is None:
        pytest.skip(f"no kernel here: {loader.kernel_status()}")
    return found
