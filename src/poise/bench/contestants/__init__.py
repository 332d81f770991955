"""Comparisons of methods: contestants, jobs, and the runner that gets through all of them."""
