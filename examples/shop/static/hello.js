// The token is behind the #, which no server and no log sees. It goes to the shop in a POST, and out of the history.
const form = document.querySelector("form");
form.elements.token.value = location.hash.slice(1);
history.replaceState(null, "", location.pathname);
