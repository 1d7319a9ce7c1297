CREATE TABLE parameter (number TEXT PRIMARY KEY NOT NULL, setpoint NUMERIC, tolerance NUMERIC, status TEXT NOT NULL, revision INTEGER NOT NULL);
