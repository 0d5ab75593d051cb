// SPDX-License-Identifier: LGPL-2.1-or-later
// A small server of many threads for the JVM: a pool that answers, one that asks, timers, garbage, a compiler at work.
import java.io.*;
import java.net.*;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.util.*;
import java.util.concurrent.*;
import java.util.concurrent.atomic.*;

public class Server {
    static final ExecutorService pool = Executors.newFixedThreadPool(6);
    static final ScheduledExecutorService timers = Executors.newScheduledThreadPool(2);
    static final ConcurrentHashMap<String, byte[]> store = new ConcurrentHashMap<>();
    static final AtomicLong ticks = new AtomicLong();

    static String hash(String text, int rounds) throws Exception {
        MessageDigest d = MessageDigest.getInstance("SHA-256");
        byte[] b = text.getBytes(StandardCharsets.UTF_8);
        for (int i = 0; i < rounds; i++) b = d.digest(b);
        StringBuilder s = new StringBuilder();
        for (byte x : b) s.append(String.format("%02x", x));
        return s.toString();
    }

    static String answer(String[] w) throws Exception {
        switch (w[0]) {
            case "hash": return hash(w[1], Integer.parseInt(w[2]));
            case "put": { byte[] b = new byte[Integer.parseInt(w[2])]; Arrays.fill(b, (byte) w[1].hashCode()); store.put(w[1], b); return "ok"; }
            case "sum": { long s = 0; for (byte b : store.get(w[1])) s += b & 0xff; return Long.toString(s); }
            case "after": { CompletableFuture<String> f = new CompletableFuture<>();
                timers.schedule(() -> f.complete("after " + w[2]), Integer.parseInt(w[2]), TimeUnit.MILLISECONDS);
                return f.get(); }
            case "pool": return pool.submit(() -> hash(w[1], Integer.parseInt(w[2]))).get();
            case "ticks": return Long.toString(ticks.get());
            default: return "what?";
        }
    }

    static void serve(Socket s) {
        try (s; BufferedReader in = new BufferedReader(new InputStreamReader(s.getInputStream(), StandardCharsets.UTF_8));
             Writer out = new OutputStreamWriter(s.getOutputStream(), StandardCharsets.UTF_8)) {
            for (String line; (line = in.readLine()) != null; ) {
                out.write(answer(line.split(" ")) + "\n");
                out.flush();
            }
        } catch (Exception e) {
            e.printStackTrace();
        }
    }

    public static void main(String[] args) throws Exception {
        timers.scheduleAtFixedRate(ticks::incrementAndGet, 0, 5, TimeUnit.MILLISECONDS);
        try (ServerSocket listener = new ServerSocket(Integer.parseInt(args[0]), 100, InetAddress.getLoopbackAddress())) {
            for (;;) {
                Socket s = listener.accept();
                new Thread(() -> serve(s)).start();
            }
        }
    }
}
