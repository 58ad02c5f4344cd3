/** What proves a user's identity: a password, or an OAuth2 refresh token ("identity token"). */
export type Credentials =
  | { readonly kind: 'password'; readonly username: string; readonly password: string }
  | { readonly kind: 'identity-token'; readonly token: string };
