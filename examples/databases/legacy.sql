-- The old quality program's database, as its vendor left it.
create table inspection (
  id integer primary key,
  lot_no text not null,
  item text not null,
  value decimal(10,3),
  checked date not null
);
insert into inspection values
  (1, 'L00000001', '厚度', 1.205, '2026-03-01'),
  (2, 'L00000001', '宽度', 30.100, '2026-03-01'),
  (3, 'L00000002', '厚度', 1.198, '2026-03-02'),
  (4, 'X3', '厚度', null, '2026-03-02');
