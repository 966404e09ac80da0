"""The simulated world of the clients: devices, links, and the virtual clock."""
