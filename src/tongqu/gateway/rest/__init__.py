"""Published REST in PostgREST's grammar: what it asks, how it is read and written, how it is answered."""
