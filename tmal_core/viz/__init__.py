"""Pictures: plots of results and of attention. The only place, with `widgets`, that loads matplotlib."""
