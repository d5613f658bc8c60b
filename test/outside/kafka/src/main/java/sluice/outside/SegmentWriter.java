// Segments as Kafka writes them, indexes included, and beside each a description of what it holds.
//
//   DIRECTORY/<name>-0/00000000000000000000.{log,index,timeindex}
//   DIRECTORY/<name>-0/expected.jsonl     {"batch":{...}} then {"record":{...}} lines; bytes in base64, null for null
//   DIRECTORY/<codec>.batches             batches as a producer sends them, one behind the other: no offset, no epoch
//   DIRECTORY/<codec>.batches.jsonl       the same lines for those
//
// Every codec, both timestamp types, plain, idempotent and transactional producers, control batches, null and empty
// keys and values, headers with repeats and nulls. The seed decides the content.
package sluice.outside;

import java.io.BufferedWriter;
import java.io.File;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.Base64;
import java.util.Properties;
import java.util.Random;
import org.apache.kafka.common.compress.Compression;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.record.TimestampType;
import org.apache.kafka.common.record.internal.CompressionType;
import org.apache.kafka.common.record.internal.ControlRecordType;
import org.apache.kafka.common.record.internal.EndTransactionMarker;
import org.apache.kafka.common.record.internal.MemoryRecords;
import org.apache.kafka.common.record.internal.MemoryRecordsBuilder;
import org.apache.kafka.common.record.internal.Record;
import org.apache.kafka.common.record.internal.RecordBatch;
import org.apache.kafka.common.utils.Time;
import org.apache.kafka.storage.internals.log.LogConfig;
import org.apache.kafka.storage.internals.log.LogSegment;

final class SegmentWriter {
  private static final int BATCHES = 40;
  private static final long FIRST_TIMESTAMP = 1_700_000_000_000L;

  private enum Producer {
    PLAIN,
    IDEMPOTENT,
    TRANSACTIONAL
  }

  private SegmentWriter() {}

  static void write(String directory, long seed) throws IOException {
    for (CompressionType codec : CompressionType.values()) {
      writeBatches(new File(directory), codec, new Random(seed ^ codec.name.hashCode()));
      for (TimestampType timestamps : new TimestampType[] {TimestampType.CREATE_TIME, TimestampType.LOG_APPEND_TIME}) {
        for (Producer producer : Producer.values()) {
          String name = codec.name + "-" + timestamps.name + "-" + producer.name().toLowerCase() + "-0";
          File folder = new File(directory, name);
          if (!folder.mkdirs()) throw new IOException("cannot create " + folder);
          writeSegment(folder, codec, timestamps, producer, new Random(seed ^ name.hashCode()));
          System.out.println(folder);
        }
      }
    }
  }

  /** A few small batches, then larger ones, of which each codec makes several blocks. */
  private static void writeBatches(File folder, CompressionType codec, Random random) throws IOException {
    Path target = folder.toPath().resolve(codec.name + ".batches");
    Files.createDirectories(folder.toPath());
    try (BufferedWriter lines = Files.newBufferedWriter(Path.of(target + ".jsonl"), StandardCharsets.UTF_8);
        FileChannel bytes = FileChannel.open(target, StandardOpenOption.CREATE_NEW, StandardOpenOption.WRITE)) {
      for (int count : new int[] {1, 2, 30, 1_000, 2_500}) {
        MemoryRecordsBuilder builder =
            MemoryRecords.builder(
                ByteBuffer.allocate(64 * 1024),
                RecordBatch.MAGIC_VALUE_V2,
                Compression.of(codec).build(),
                TimestampType.CREATE_TIME,
                0);
        for (int index = 0; index < count; index++) {
          builder.append(FIRST_TIMESTAMP + index, bytes(random, 20), bytes(random, 200), headers(random));
        }
        MemoryRecords records = builder.build();
        describe(lines, records.batches().iterator().next());
        records.writeFullyTo(bytes);
      }
    }
  }

  private static void writeSegment(
      File folder, CompressionType codec, TimestampType timestamps, Producer producer, Random random)
      throws IOException {
    Path description = folder.toPath().resolve("expected.jsonl");
    LogSegment segment = LogSegment.open(folder, 0, new LogConfig(new Properties()), Time.SYSTEM, 0, false);
    try (BufferedWriter lines = Files.newBufferedWriter(description, StandardCharsets.UTF_8)) {
      long offset = 0;
      int sequence = 0;
      for (int index = 0; index < BATCHES; index++) {
        long now = FIRST_TIMESTAMP + index * 1_000L;
        int epoch = index / 10;
        boolean isMarker = producer == Producer.TRANSACTIONAL && index % 5 == 4;
        MemoryRecords records =
            isMarker
                ? MemoryRecords.withEndTransactionMarker(
                    offset,
                    now,
                    epoch,
                    7_000,
                    (short) 3,
                    new EndTransactionMarker(
                        index % 10 == 4 ? ControlRecordType.COMMIT : ControlRecordType.ABORT, 1))
                : batch(Compression.of(codec).build(), timestamps, producer, random, offset, now, sequence, epoch);
        RecordBatch batch = records.batches().iterator().next();
        describe(lines, batch);
        segment.append(batch.lastOffset(), records);
        if (!isMarker) sequence += batch.countOrNull();
        offset = batch.nextOffset();
      }
    }
    segment.onBecomeInactiveSegment();
    segment.flush();
    segment.close();
  }

  private static MemoryRecords batch(
      Compression compression,
      TimestampType timestamps,
      Producer producer,
      Random random,
      long baseOffset,
      long now,
      int sequence,
      int epoch) {
    boolean hasIdentity = producer != Producer.PLAIN;
    MemoryRecordsBuilder builder =
        MemoryRecords.builder(
            ByteBuffer.allocate(64 * 1024),
            RecordBatch.MAGIC_VALUE_V2,
            compression,
            timestamps,
            baseOffset,
            now,
            hasIdentity ? 7_000L : RecordBatch.NO_PRODUCER_ID,
            hasIdentity ? (short) 3 : RecordBatch.NO_PRODUCER_EPOCH,
            hasIdentity ? sequence : RecordBatch.NO_SEQUENCE,
            producer == Producer.TRANSACTIONAL,
            epoch);
    int count = 1 + random.nextInt(30);
    for (int index = 0; index < count; index++) {
      long timestamp = now + random.nextInt(2_000) - 1_000;
      builder.append(timestamp, bytes(random, 20), bytes(random, 200), headers(random));
    }
    return builder.build();
  }

  /** Null and empty ones come often; half of the others are text, so that compression has something to do. */
  private static byte[] bytes(Random random, int lengthMax) {
    int kind = random.nextInt(10);
    if (kind == 0) return null;
    if (kind == 1) return new byte[0];
    byte[] bytes = new byte[1 + random.nextInt(lengthMax)];
    if (kind < 6) {
      random.nextBytes(bytes);
    } else {
      for (int index = 0; index < bytes.length; index++) bytes[index] = (byte) ("aéiou ".charAt(index % 6) & 0x7f);
    }
    return bytes;
  }

  private static Header[] headers(Random random) {
    Header[] headers = new Header[Math.max(0, random.nextInt(6) - 2)];
    for (int index = 0; index < headers.length; index++) {
      headers[index] = new RecordHeader(random.nextBoolean() ? "trace" : "größe-" + index, bytes(random, 30));
    }
    return headers;
  }

  private static void describe(BufferedWriter lines, RecordBatch batch) throws IOException {
    lines.write(
        "{\"batch\":{\"baseOffset\":" + batch.baseOffset()
            + ",\"lastOffset\":" + batch.lastOffset()
            + ",\"byteLength\":" + batch.sizeInBytes()
            + ",\"leaderEpoch\":" + batch.partitionLeaderEpoch()
            + ",\"codec\":\"" + batch.compressionType().name + "\""
            + ",\"timestampType\":\"" + (batch.timestampType() == TimestampType.CREATE_TIME ? "create" : "append") + "\""
            + ",\"maxTimestamp\":" + batch.maxTimestamp()
            + ",\"producerId\":" + batch.producerId()
            + ",\"producerEpoch\":" + batch.producerEpoch()
            + ",\"baseSequence\":" + batch.baseSequence()
            + ",\"isTransactional\":" + batch.isTransactional()
            + ",\"isControl\":" + batch.isControlBatch()
            + ",\"recordCount\":" + batch.countOrNull()
            + "}}\n");
    for (Record record : batch) {
      StringBuilder headers = new StringBuilder();
      for (Header header : record.headers()) {
        headers.append(headers.isEmpty() ? "" : ",").append("{\"key\":").append(text(header.key().getBytes(StandardCharsets.UTF_8)))
            .append(",\"value\":").append(text(header.value())).append('}');
      }
      lines.write(
          "{\"record\":{\"offset\":" + record.offset()
              + ",\"timestamp\":" + record.timestamp()
              + ",\"key\":" + text(copy(record.key()))
              + ",\"value\":" + text(copy(record.value()))
              + ",\"headers\":[" + headers + "]}}\n");
    }
  }

  private static byte[] copy(ByteBuffer buffer) {
    if (buffer == null) return null;
    byte[] bytes = new byte[buffer.remaining()];
    buffer.duplicate().get(bytes);
    return bytes;
  }

  private static String text(byte[] bytes) {
    return bytes == null ? "null" : "\"" + Base64.getEncoder().encodeToString(bytes) + "\"";
  }
}
