CREATE TABLE lines (id INTEGER PRIMARY KEY, title TEXT NOT NULL, plant TEXT NOT NULL);
INSERT INTO lines VALUES (1, '冲压', 'A'), (2, '焊接', 'A'), (3, '涂装', 'B');
CREATE TABLE orders (id INTEGER PRIMARY KEY, line_id INTEGER NOT NULL, pieces INTEGER NOT NULL CHECK (pieces > 0));
INSERT INTO orders VALUES (1, 1, 500);
