import java.nio.file.*;
import java.util.*;
import org.joda.time.*;
import org.joda.time.format.*;

// Folders is what made folders.txt: with joda-time-2.14.1.jar and a JDK 17, java -cp joda-time-2.14.1.jar Folders.java folders.txt.
// It reads lines format | locale | zone | milliseconds of a folder | time, and ends each with the folder that
// Joda-Time gives, or ! and why there is none: the time is cut in local time, by an integer division, as the Kafka Connect S3 sink cuts it.
public class Folders {
  public static void main(String[] args) throws Exception {
    for (String line : Files.readAllLines(Path.of(args[0]))) {
      if (line.isBlank() || line.startsWith("#")) { System.out.println(line); continue; }
      String[] f = line.split(" \\| ", -1);
      String out;
      try {
        DateTimeZone zone = DateTimeZone.forID(f[2].trim());
        DateTimeFormatter folder = DateTimeFormat.forPattern(f[0].trim()).withZone(zone).withLocale(new Locale(f[1].trim()));
        long length = Long.parseLong(f[3].trim());
        String at = f[4].trim();
        long time = at.matches("-?[0-9]+") ? Long.parseLong(at) : Instant.parse(at).getMillis();
        long local = zone.convertUTCToLocal(time);
        out = new DateTime(zone.convertLocalToUTC(local / length * length, false)).toString(folder);
      } catch (IllegalArgumentException e) { out = "! " + e.getMessage(); }
      System.out.println(String.join(" | ", f[0], f[1], f[2], f[3], f[4]) + " | " + out);
    }
  }
}
