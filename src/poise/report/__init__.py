"""What a person looks at: tables, figures, TensorBoard scalars, the HTML page."""
