"""What a caller may use, told in the formats that people and programs read: OpenAPI, AsyncAPI, Postman, a page."""
