CREATE TABLE inspection_result (
  "LOT" text NOT NULL, item_code text NOT NULL, plant text, "WGT_G" numeric(12,1), inspector text,
  line_id text NOT NULL, day date NOT NULL, passed boolean NOT NULL, updated_at timestamptz NOT NULL,
  PRIMARY KEY ("LOT", item_code)
);
INSERT INTO inspection_result VALUES
  ('L00000001', 'bearing', '上海', 1250.5, '张三', 'A1', '2026-01-05', true,  '2026-01-05 08:00+08'),
  ('L00000002', 'bearing', '上海', 1249.0, '张三', 'A1', '2026-01-05', false, '2026-01-05 08:01+08'),
  ('L00000003', 'gear',    '苏州',  500.0, '李四', 'A2', '2026-01-05', true,  '2026-01-05 08:02+08'),
  ('X3',        'gear',    '苏州',  499.0, '李四', 'A2', '2026-01-05', true,  '2026-01-05 08:03+08'),
  ('L00000005', 'valve',   '苏州',   NULL, '李四', 'A2', '2026-01-05', true,  '2026-01-05 08:04+08');
CREATE TABLE parameter (name text PRIMARY KEY, value numeric NOT NULL);
INSERT INTO parameter VALUES ('tolerance_g', 0.5);
CREATE TABLE audit_login (id bigint PRIMARY KEY, who text);
INSERT INTO audit_login VALUES (1, '张三');
