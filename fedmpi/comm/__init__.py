"""Communication between ranks, and the encoding of clients' messages; mpi4py is used only here."""
