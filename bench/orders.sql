-- The table every benchmark moves: 12 columns of mixed types, a pure function of the row number, so any two runs agree.
-- psql -v rows=1000000 -v tbl=orders -f orders.sql
\set ON_ERROR_STOP 1
SET client_min_messages = warning;
DROP TABLE IF EXISTS :tbl;
CREATE TABLE :tbl (
  id bigint PRIMARY KEY, order_no varchar(32) NOT NULL, customer text NOT NULL, amount numeric(12,2) NOT NULL,
  discount numeric(12,2), created_at timestamptz NOT NULL, ship_date date, is_paid boolean NOT NULL,
  status varchar(16) NOT NULL, remark text, attrs jsonb, qty integer NOT NULL
);
WITH numbers AS (
  SELECT n, (n * 2654435761 + 1013904223) % 2147483647 AS h FROM generate_series(1::bigint, :rows::bigint) AS n
)
INSERT INTO :tbl
SELECT n,
  format('SO%s-%s', 20240000 + n % 366, lpad(n::text, 8, '0')),
  (ARRAY['王伟', '李娜', '张敏', '刘洋', '陈静', '杨帆', '赵磊', '上海浦东集成有限公司', '北京数据科技股份公司', 'Acme Trading Ltd.'])[1 + h % 10],
  ((h % 99999999)::numeric / 100)::numeric(12,2),
  CASE WHEN h % 3 = 0 THEN ((h % 10000)::numeric / 100)::numeric(12,2) END,
  timestamptz '2024-01-01 00:00:00+00' + (n * 31 % 63072000) * interval '1 second' + (h % 1000000) * interval '1 microsecond',
  CASE WHEN h % 4 <> 0 THEN date '2024-01-03' + (h % 700)::int END,
  h % 5 <> 0,
  (ARRAY['created', 'paid', 'shipped', 'delivered', 'cancelled'])[1 + h % 5],
  CASE WHEN h % 2 = 0 THEN (ARRAY['请在工作日送货', '加急处理，联系客户确认地址', '货到付款', 'Leave at the front desk, "fragile"'])[1 + (h / 7) % 4] END,
  CASE WHEN h % 10 <> 9 THEN jsonb_build_object('src', (ARRAY['app', 'web', 'pos'])[1 + h % 3], 'tags', jsonb_build_array('t' || h % 7, '促销'), 'w', h % 1000) END,
  (1 + h % 50)::int
FROM numbers;
ANALYZE :tbl;
