"""OpenAPI 3, Swagger 2 and Postman documents: read, resolved, and turned into lists of records that can be read."""
