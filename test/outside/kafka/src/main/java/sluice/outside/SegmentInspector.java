// Lets Kafka read files that somebody else wrote, and prints what it says. It judges nothing: the lines do.
//
// The files come one a line on standard input. For each, on standard output:
//
//   MARK dump FILE        what DumpLogSegments prints with --deep-iteration --print-data-log
//   MARK sanity FILE      for an index: what it prints with --index-sanity-check
//   MARK digest FILE      for a log: one line a batch, "base offset, last offset, records, SHA-256 of the records"
//   MARK threw TEXT       in place of the rest of a step that threw
//   MARK end              behind the last step of all
//
// MARK is drawn by the caller, so that no record can imitate it. What DumpLogSegments prints to standard error (its
// findings) comes in line with the rest.
package sluice.outside;

import java.io.BufferedOutputStream;
import java.io.BufferedReader;
import java.io.File;
import java.io.FileOutputStream;
import java.io.FileDescriptor;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.util.HexFormat;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.record.internal.FileLogInputStream.FileChannelRecordBatch;
import org.apache.kafka.common.record.internal.FileRecords;
import org.apache.kafka.common.record.internal.Record;
import org.apache.kafka.tools.DumpLogSegments;

final class SegmentInspector {
  private static final String MESSAGE_BYTES_MAX = Integer.toString(64 * 1024 * 1024);

  private SegmentInspector() {}

  private interface Step {
    void run() throws Exception;
  }

  static void inspect(String mark) throws Exception {
    PrintStream out =
        new PrintStream(
            new BufferedOutputStream(new FileOutputStream(FileDescriptor.out), 1 << 16), false, StandardCharsets.UTF_8);
    System.setOut(out);
    System.setErr(out);
    BufferedReader files = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    for (String file = files.readLine(); file != null; file = files.readLine()) {
      String name = file;
      step(out, mark, "dump " + name, () -> dump(name, "--deep-iteration", "--print-data-log"));
      if (name.endsWith(".index") || name.endsWith(".timeindex")) {
        step(out, mark, "sanity " + name, () -> dump(name, "--index-sanity-check"));
      }
      if (name.endsWith(".log")) {
        step(out, mark, "digest " + name, () -> digest(out, new File(name)));
      }
    }
    out.println(mark + " end");
    out.flush();
  }

  private static void step(PrintStream out, String mark, String title, Step step) {
    out.println(mark + " " + title);
    try {
      step.run();
    } catch (Throwable thrown) {
      out.println();
      out.println(mark + " threw " + String.valueOf(thrown).replace('\n', ' '));
    }
  }

  private static void dump(String file, String... options) throws Exception {
    String[] arguments = new String[options.length + 4];
    arguments[0] = "--files";
    arguments[1] = file;
    arguments[2] = "--max-message-size";
    arguments[3] = MESSAGE_BYTES_MAX;
    System.arraycopy(options, 0, arguments, 4, options.length);
    DumpLogSegments.main(arguments);
  }

  private static void digest(PrintStream out, File file) throws Exception {
    try (FileRecords records = FileRecords.open(file, false)) {
      for (FileChannelRecordBatch batch : records.batches()) {
        batch.ensureValid();
        MessageDigest digest = MessageDigest.getInstance("SHA-256");
        int count = 0;
        for (Record record : batch) {
          record.ensureValid();
          digest.update(canonical(record));
          count++;
        }
        out.println(
            batch.baseOffset() + " " + batch.lastOffset() + " " + count + " " + HexFormat.of().formatHex(digest.digest()));
      }
    }
  }

  // offset int64 | timestamp int64 | key | value | header count int32 | each header: name | value
  // where a byte string is its length as int32 (-1 for null) and the bytes.
  private static byte[] canonical(Record record) {
    int length = 16 + 4 + Math.max(0, record.keySize()) + 4 + Math.max(0, record.valueSize()) + 4;
    Header[] headers = record.headers();
    byte[][] names = new byte[headers.length][];
    for (int index = 0; index < headers.length; index++) {
      names[index] = headers[index].key().getBytes(StandardCharsets.UTF_8);
      byte[] value = headers[index].value();
      length += 8 + names[index].length + (value == null ? 0 : value.length);
    }
    ByteBuffer bytes = ByteBuffer.allocate(length);
    bytes.putLong(record.offset()).putLong(record.timestamp());
    put(bytes, record.key());
    put(bytes, record.value());
    bytes.putInt(headers.length);
    for (int index = 0; index < headers.length; index++) {
      put(bytes, ByteBuffer.wrap(names[index]));
      byte[] value = headers[index].value();
      put(bytes, value == null ? null : ByteBuffer.wrap(value));
    }
    return bytes.array();
  }

  private static void put(ByteBuffer target, ByteBuffer part) {
    if (part == null) {
      target.putInt(-1);
    } else {
      target.putInt(part.remaining()).put(part.duplicate());
    }
  }
}
