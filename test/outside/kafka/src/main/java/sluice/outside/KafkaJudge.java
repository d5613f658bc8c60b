// The entry: which of the two jobs to do. One JVM serves many files, because its start costs more than the work.
package sluice.outside;

public final class KafkaJudge {
  private KafkaJudge() {}

  public static void main(String[] arguments) throws Exception {
    if (arguments.length == 2 && arguments[0].equals("inspect")) {
      SegmentInspector.inspect(arguments[1]);
    } else if (arguments.length == 3 && arguments[0].equals("write")) {
      SegmentWriter.write(arguments[1], Long.parseLong(arguments[2]));
    } else {
      System.err.println("usage: KafkaJudge inspect MARK < list of files | KafkaJudge write DIRECTORY SEED");
      System.exit(2);
    }
  }
}
