/* Takes the rows of a result set, and those of a batch, as columns: one call from Python for many rows.
 * `compiling.py` makes the class on first use, on Java 8 or later. */

import java.nio.charset.StandardCharsets;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.util.Arrays;

public final class Columns {
    public static final int LONG = 0, DOUBLE = 1, TRUTH = 2, BYTES = 3, TEXT = 4;

    private final int[] kinds;
    private final long[][] longs;
    private final double[][] doubles;
    private final byte[][] truths;
    private final byte[][] bytes;
    private final int[][] ends;
    private final byte[][] valid;
    private int rows;

    /** Room for `most` rows of columns of these kinds. */
    public Columns(int[] kinds, int most) {
        int n = kinds.length;
        this.kinds = kinds;
        longs = new long[n][];
        doubles = new double[n][];
        truths = new byte[n][];
        bytes = new byte[n][];
        ends = new int[n][];
        valid = new byte[n][most];
        for (int c = 0; c < n; c++) {
            if (kinds[c] == LONG) {
                longs[c] = new long[most];
            } else if (kinds[c] == DOUBLE) {
                doubles[c] = new double[most];
            } else if (kinds[c] == TRUTH) {
                truths[c] = new byte[most];
            } else {
                bytes[c] = new byte[8 * most];
                ends[c] = new int[most + 1];
            }
        }
    }

    /** Takes rows until there are `most`, or about `size` bytes of them; gives how many, 0 at the end. */
    public int read(ResultSet found, int most, int size) throws SQLException {
        long held = 0;
        rows = 0;
        while (rows < most && held < size && found.next()) {
            for (int c = 0; c < kinds.length; c++) {
                held += take(found, c);
            }
            rows++;
        }
        return rows;
    }

    private int take(ResultSet found, int c) throws SQLException {
        if (kinds[c] == LONG) {
            longs[c][rows] = found.getLong(c + 1);
        } else if (kinds[c] == DOUBLE) {
            doubles[c][rows] = found.getDouble(c + 1);
        } else if (kinds[c] == TRUTH) {
            truths[c][rows] = (byte) (found.getBoolean(c + 1) ? 1 : 0);
        } else {
            return keep(kinds[c] == BYTES ? found.getBytes(c + 1) : encoded(found.getString(c + 1)), c);
        }
        valid[c][rows] = (byte) (found.wasNull() ? 0 : 1);
        return 8;
    }

    private static byte[] encoded(String text) {
        return text == null ? null : text.getBytes(StandardCharsets.UTF_8);
    }

    private int keep(byte[] one, int c) {
        int begin = ends[c][rows], length = one == null ? 0 : one.length;
        int end = Math.addExact(begin, length);
        if (end > bytes[c].length) {
            bytes[c] = Arrays.copyOf(bytes[c], (int) Math.min(Integer.MAX_VALUE - 8L, Math.max(end, 2L * bytes[c].length)));
        }
        if (one != null) {
            System.arraycopy(one, 0, bytes[c], begin, length);
        }
        ends[c][rows + 1] = end;
        valid[c][rows] = (byte) (one == null ? 0 : 1);
        return length + 8;
    }

    /** The values of a column of numbers or truths. */
    public Object values(int c) {
        return longs[c] != null ? Arrays.copyOf(longs[c], rows)
            : doubles[c] != null ? Arrays.copyOf(doubles[c], rows) : Arrays.copyOf(truths[c], rows);
    }

    /** The bytes of a column of texts (UTF-8) or bytes, one value behind the other. */
    public byte[] bytes(int c) {
        return Arrays.copyOf(bytes[c], ends[c][rows]);
    }

    /** Where each value of such a column begins, and where the last ends. */
    public int[] ends(int c) {
        return Arrays.copyOf(ends[c], rows + 1);
    }

    /** 1 for each value that is not null. */
    public byte[] valid(int c) {
        return Arrays.copyOf(valid[c], rows);
    }

    /** Sends rows as one batch: a column's kind says in which array its values are, with `ends` where they have any
     * length. */
    public static void send(
        PreparedStatement statement, int rows, int[] kinds, Object[] columns, int[][] ends, byte[][] valid
    ) throws SQLException {
        for (int r = 0; r < rows; r++) {
            for (int c = 0; c < kinds.length; c++) {
                if (valid[c][r] == 0) {
                    statement.setNull(c + 1, java.sql.Types.NULL);
                } else if (kinds[c] == LONG) {
                    statement.setLong(c + 1, ((long[]) columns[c])[r]);
                } else if (kinds[c] == DOUBLE) {
                    statement.setDouble(c + 1, ((double[]) columns[c])[r]);
                } else if (kinds[c] == TRUTH) {
                    statement.setBoolean(c + 1, ((byte[]) columns[c])[r] != 0);
                } else {
                    bind(statement, c + 1, kinds[c], (byte[]) columns[c], ends[c][r], ends[c][r + 1]);
                }
            }
            statement.addBatch();
        }
        statement.executeBatch();
    }

    private static void bind(PreparedStatement statement, int at, int kind, byte[] held, int begin, int end)
        throws SQLException {
        if (kind == BYTES) {
            statement.setBytes(at, Arrays.copyOfRange(held, begin, end));
        } else {
            statement.setString(at, new String(held, begin, end - begin, StandardCharsets.UTF_8));
        }
    }
}
