"""What a model and its answers look like inside, as arrays and tables; `viz` draws them."""
