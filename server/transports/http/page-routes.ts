/** Serves the page at `/`, with a content policy that lets it run nothing but its own files. */
import express, { type Router } from 'express';
import type { Page } from './http-deps.js';

const PAGE_POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "connect-src 'self'",
  "img-src 'self' data: blob:",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ');

export function addPageRoutes(router: Router, { directory, clientScript }: Page): void {
  router.get('/midstream-client.js', (_req, res, next) => {
    res.sendFile(clientScript, { dotfiles: 'allow', cacheControl: false, headers: PAGE_HEADERS }, (error) => {
      if (error) next();
    });
  });
  router.use(
    express.static(directory, {
      index: 'index.html',
      redirect: false,
      cacheControl: false,
      setHeaders: (res) => {
        for (const [name, value] of Object.entries(PAGE_HEADERS)) res.setHeader(name, value);
      },
    }),
  );
}

const PAGE_HEADERS = { 'Content-Security-Policy': PAGE_POLICY, 'Cache-Control': 'no-cache' };
