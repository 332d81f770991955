"""What a person does with poise, one function each: search, select, train, evaluate, export."""
