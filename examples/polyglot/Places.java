// places: where cities are and what there is to see. Java 17, one file, what the JDK brings along.

import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.Executors;
import java.util.stream.Collectors;

public class Places {
    record Place(double latitude, double longitude, List<String> sights) {}

    static final Map<String, Place> PLACES = Map.of(
        "lisbon", new Place(38.72, -9.14, List.of("the tram 28", "the castle", "the river")),
        "oslo", new Place(59.91, 10.75, List.of("the opera", "the fjord")),
        "singapore", new Place(1.29, 103.85, List.of("the gardens", "the markets", "the bay")));

    static void answer(HttpExchange exchange, int status, String json) throws IOException {
        byte[] body = (json + "\n").getBytes(StandardCharsets.UTF_8);
        exchange.getResponseHeaders().set("content-type", "application/json");
        exchange.sendResponseHeaders(status, body.length);
        exchange.getResponseBody().write(body);
        exchange.close();
    }

    static void place(HttpExchange exchange) throws IOException {
        String city = exchange.getRequestURI().getPath().substring("/places/".length());
        Place place = PLACES.get(city);
        if (place == null) {
            answer(exchange, 404, "{\"detail\":\"no such place\",\"by\":\"java\"}");
            return;
        }
        String sights = place.sights().stream().map(s -> '"' + s + '"').collect(Collectors.joining(","));
        answer(exchange, 200, String.format(Locale.ROOT,
            "{\"city\":\"%s\",\"latitude\":%.2f,\"longitude\":%.2f,\"sights\":[%s],\"by\":\"java\"}",
            city, place.latitude(), place.longitude(), sights));
    }

    public static void main(String[] arguments) throws IOException {
        int port = Integer.parseInt(System.getenv("PORT"));
        HttpServer server = HttpServer.create(new InetSocketAddress("127.0.0.1", port), 128);
        server.createContext("/places/", Places::place);
        server.createContext("/healthz", exchange -> answer(exchange, 200, "{\"status\":\"ok\"}"));
        var workers = Executors.newFixedThreadPool(16);
        server.setExecutor(workers);
        // SIGTERM runs this: nothing new is accepted, what is open has ten seconds.
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            server.stop(10);
            workers.shutdown();
        }));
        server.start();
        System.out.println("places listens on " + port);
    }
}
