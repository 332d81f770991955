"""Many commands of poise: one scheduler, and what carries them out, one executor, one file."""
