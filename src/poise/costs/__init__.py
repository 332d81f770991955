"""What networks cost: counted, or measured; and as an expectation over relaxed alphas."""
