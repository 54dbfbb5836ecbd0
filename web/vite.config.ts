import { svelte } from '@sveltejs/vite-plugin-svelte';
import { connect } from 'node:net';
import { defineConfig, type Plugin } from 'vite';
import { WebSocketServer } from 'ws';
import { licences } from './licences.mjs';
import { writeSourceHash } from './source-hash.mjs';

/** Where `vite` (the development server only) finds the service. */
const HTTP = process.env.VITALGUARD_HTTP ?? 'http://127.0.0.1:8080';
/** Set: the development server opens the byte tunnel to this broker itself; else the service does. */
const MQTT = process.env.VITALGUARD_MQTT;

/** `/mqtt`, a WebSocket of subprotocol `mqtt`, to the broker's TCP port: development only. */
function tunnel(): Plugin {
  return {
    name: 'mqtt-tunnel',
    apply: 'serve',
    configureServer(server) {
      if (!MQTT) return;
      const [host, port] = MQTT.split(':');
      const sockets = new WebSocketServer({ noServer: true, handleProtocols: () => 'mqtt' });
      server.httpServer?.on('upgrade', (request, socket, head) => {
        if (request.url !== '/mqtt') return;
        sockets.handleUpgrade(request, socket, head, (ws) => {
          const tcp = connect(Number(port), host);
          tcp.on('data', (bytes) => ws.send(bytes));
          tcp.on('close', () => ws.close());
          tcp.on('error', () => ws.close());
          ws.on('message', (bytes: Buffer) => tcp.write(bytes));
          ws.on('close', () => tcp.destroy());
        });
      });
    },
  };
}

function hash(): Plugin {
  return { name: 'source-hash', apply: 'build', closeBundle: () => writeSourceHash() };
}

function notices(): Plugin {
  return {
    name: 'licences',
    apply: 'build',
    generateBundle() {
      this.emitFile({ type: 'asset', fileName: 'licences.txt', source: licences() });
    },
  };
}

export default defineConfig({
  plugins: [svelte(), tunnel(), notices(), hash()],
  build: {
    target: 'es2022',
    outDir: 'dist',
    emptyOutDir: true,
    cssCodeSplit: false,
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: true,
    chunkSizeWarningLimit: 600,
    rolldownOptions: {
      output: {
        entryFileNames: 'app.js',
        chunkFileNames: '[name].js',
        assetFileNames: (asset) => (asset.names[0]?.endsWith('.css') ? 'app.css' : '[name][extname]'),
      },
    },
  },
  server: {
    proxy: {
      '/api': { target: HTTP },
      ...(MQTT ? {} : { '/mqtt': { target: HTTP, ws: true } }),
    },
  },
  test: { include: ['src/**/*.test.ts'], environment: 'node' },
});
