# The Spack package of fedmpi. In a repository of your own:
#   spack repo create mine; cp -r packaging/spack/py-fedmpi mine/packages/; spack repo add mine
#   spack install py-fedmpi ^cray-mpich        or any other MPI of the site
from spack.package import *


class PyFedmpi(PythonPackage):
    """Federated learning with sparse, pruned and heterogeneous clients, simulated on MPI ranks."""

    # A release: pypi = "fedmpi/fedmpi-0.2.0.tar.gz", and a version with its sha256.
    git = "file:///path/of/the/checkout"

    license("BSD-3-Clause")

    version("main", branch="main")

    depends_on("python@3.11:", type=("build", "run"))
    depends_on("py-setuptools@77:", type="build")

    depends_on("mpi", type=("build", "run"))
    depends_on("py-numpy@2:", type=("build", "run"))
    depends_on("py-numba@0.62:", type=("build", "run"))
    depends_on("py-torch@2.4:", type=("build", "run"))
    depends_on("py-h5py@3.11:", type=("build", "run"))
    depends_on("py-mpi4py@4:", type=("build", "run"))
    depends_on("py-pydantic@2.7:", type=("build", "run"))
    depends_on("py-rich@13.7:", type=("build", "run"))

    import_modules = ["fedmpi", "fedmpi.kernels", "fedmpi.cli"]
