"""Published GraphQL: a schema for each caller of what it may see, and operations turned into questions."""
