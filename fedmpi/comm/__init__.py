"""Messages between ranks and the encoding of what clients send. The door of mpi4py."""
