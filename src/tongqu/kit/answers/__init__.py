"""What the answers of an API hold: records cut from bodies, pages in order, rows typed by column."""
