CREATE TABLE parameter (number TEXT PRIMARY KEY NOT NULL, setpoint NUMERIC, tolerance NUMERIC, status TEXT NOT NULL, revision INTEGER NOT NULL, cost_centre TEXT);
INSERT INTO parameter VALUES ('P-100', 180, 2, 'released', 1, '4711'), ('P-200', 95, 1, 'released', 1, '4711'), ('P-300', 20, 1, 'draft', 1, '4712');
