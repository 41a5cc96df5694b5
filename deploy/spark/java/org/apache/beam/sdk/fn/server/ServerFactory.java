package org.apache.beam.sdk.fn.server;

import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.SocketAddress;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.function.Supplier;
import org.apache.beam.model.pipeline.v1.Endpoints.ApiServiceDescriptor;
import org.apache.beam.sdk.fn.channel.SocketAddressFactory;
import org.apache.beam.vendor.grpc.v1p69p0.io.grpc.BindableService;
import org.apache.beam.vendor.grpc.v1p69p0.io.grpc.Server;
import org.apache.beam.vendor.grpc.v1p69p0.io.grpc.ServerInterceptors;
import org.apache.beam.vendor.grpc.v1p69p0.io.grpc.netty.NettyServerBuilder;

/**
 * Takes the place of Beam's class of this name, by standing before it on the class path.
 *
 * <p>Every gRPC server of Beam's job server and of its executors is made here. Beam's listens on every interface,
 * whatever host it is given, and asks nobody who they are; this one listens on the host that it is told, and on loopback
 * where it is told none. So with {@code --job-port=0} all is on loopback, {@code --job-host=NAME --job-port=8099} listens
 * at that name alone, and executors, whose workers of steps stand beside them, are on loopback always.
 */
public abstract class ServerFactory {
  /** Seconds between signs of life that a client may send. */
  private static final long SIGNS_OF_LIFE = 20;

  /** How others are told of a server. */
  public interface UrlFactory {
    String createUrl(String host, int port);

    static UrlFactory createDefault() {
      return (host, port) -> host + ":" + port;
    }
  }

  public static ServerFactory createDefault() {
    return createWithPortSupplier(() -> 0);
  }

  public static ServerFactory createWithUrlFactory(UrlFactory urls) {
    return createWithUrlFactoryAndPortSupplier(urls, () -> 0);
  }

  public static ServerFactory createWithPortSupplier(Supplier<Integer> ports) {
    return createWithUrlFactoryAndPortSupplier(UrlFactory.createDefault(), ports);
  }

  public static ServerFactory createWithUrlFactoryAndPortSupplier(UrlFactory urls, Supplier<Integer> ports) {
    return new Listening(urls, ports);
  }

  /** A server on a port of the supplier's; where it is stands in {@code told} afterwards. */
  public abstract Server allocateAddressAndCreate(List<BindableService> services, ApiServiceDescriptor.Builder told)
      throws IOException;

  /** A server where it is told to be. */
  public abstract Server create(List<BindableService> services, ApiServiceDescriptor told) throws IOException;

  private static final class Listening extends ServerFactory {
    private final UrlFactory urls;
    private final Supplier<Integer> ports;

    Listening(UrlFactory urls, Supplier<Integer> ports) {
      this.urls = urls;
      this.ports = ports;
    }

    @Override
    public Server allocateAddressAndCreate(List<BindableService> services, ApiServiceDescriptor.Builder told)
        throws IOException {
      InetAddress loopback = InetAddress.getLoopbackAddress();
      Server server = started(services, new InetSocketAddress(loopback, ports.get()));
      told.setUrl(urls.createUrl(loopback.getHostName(), server.getPort()));
      return server;
    }

    @Override
    public Server create(List<BindableService> services, ApiServiceDescriptor told) throws IOException {
      return started(services, SocketAddressFactory.createFrom(told.getUrl()));
    }

    private static Server started(List<BindableService> services, SocketAddress place) throws IOException {
      NettyServerBuilder builder =
          NettyServerBuilder.forAddress(place)
              .maxInboundMessageSize(Integer.MAX_VALUE)
              .permitKeepAliveTime(SIGNS_OF_LIFE, TimeUnit.SECONDS);
      for (BindableService service : services) {
        // Who calls is told by a header that Beam's services ask for.
        builder.addService(ServerInterceptors.intercept(service, GrpcContextHeaderAccessorProvider.interceptor()));
      }
      return builder.build().start();
    }
  }
}
