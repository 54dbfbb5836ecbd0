import './app.css';
import { mount } from 'svelte';
import App from './App.svelte';
import { live } from './lib/live.svelte';

const target = document.getElementById('app');
if (target) mount(App, { target });
void live.start();
